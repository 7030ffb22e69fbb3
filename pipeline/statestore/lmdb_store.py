"""The local state store of one partition, in LMDB, with the changelog offset up to which it is current.

A copy of the truth, which is the changelog topic: lost, broken, too old or not understood, it is thrown away and
restored. What one LMDB transaction writes is there whole or not at all, the offset included, whenever the process dies.
Its file, size and locks are in `lmdb_file`; what is left reads and writes the same tables, and is one class.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple, Self

import lmdb

from pipeline import version
from pipeline.statestore.changes import BEGAN, Began, Change, News, collapse, put_all, slices, take_in
from pipeline.statestore.directory import DATA, StateDirectory
from pipeline.statestore.disk import in_full, unusable
from pipeline.statestore.lmdb_file import (
    FAULTS,
    REMAINS,
    LmdbFile,
    UnusableError,
    is_fault_of_the_file,
)
from pipeline.statestore.schema import Schema
from pipeline.statestore.write_size import next_size

HEALTHY_AFTER_S: Final = 60.0

SLICE_KEYS: Final = 1000
"""Keys of one transaction. The kernel maps 16 pages around each that is touched, 64 MB at worst; and LMDB keeps the
pages that it changed, two a key at worst, for the next write to this file."""

LOOK_EVERY: Final = 128
"""Derived values that are read between two looks at the memory: reading alone maps a large file page by page, too."""

PLACE: Final = b"place"
OF: Final = b"of"
SIFTED: Final = b"sifted"
"""The offset of `PLACE` once more, and the build that has kept something aside below it. An earlier version writes the
place alone."""

NEVER: Final = -1

_PLACE: Final = struct.Struct(">qq")
_SINCE: Final = struct.Struct(">q")
_UP_TO: Final = struct.Struct(">q")

EARLIER: Final = "a version that did not note it"


class Measure(NamedTuple):
    """Of a store: the size of its file, and how many values it holds."""

    bytes: int
    values: int


class LmdbStore(LmdbFile):
    """The values and derived values of one partition.

    For one thread at a time, but for `copy`, beside which it may be read; whoever writes waits for the copy's end.
    `next_offset` is the first record of the changelog that it does not know yet, `remains_since_s` the moment (unix
    seconds) since which the file holds remains of somebody who was forgotten, None while it holds none. `kept_aside_by`
    is the build to which something of the changelog was no value of its schema, None where all of it was.

    Any method may raise `StateError`, when the files are broken or were removed, or when LMDB cannot go on with them:
    `is_broken`: whether they are given up. Any method may raise `SettingsError`, when the machine lacks something:
    room, memory, open files, the right to write. The files stay then.
    """

    def __init__(
        self, directory: StateDirectory, topic: str, partition: int, schema: Schema, why_empty: str | None
    ) -> None:
        self.schema = schema
        self.next_offset = 0
        self.began: Began | None = None
        self.remains_since_s: int | None = None
        self.kept_aside_by: str | None = None
        self._looks = 0
        self._times = 1
        self._measured: Measure | None = None
        super().__init__(directory, topic, partition, why_empty)

    @classmethod
    def open(cls, base: Path, topic: str, partition: int, schema: Schema) -> Self:
        """The store of a partition under `base`. Where none can be trusted it is empty; `why_empty` has the reason.

        Raises:
            SettingsError: the directory cannot be used.
        """
        try:
            directory = StateDirectory.take(base / topic, str(partition))
        except OSError as error:
            raise unusable(base, error) from None
        return cls._in(directory, topic, partition, schema)

    @classmethod
    def open_unused(cls, base: Path, topic: str, partition: int, schema: Schema) -> Self | None:
        """The store in the first place of a partition; None when there is none, or a process has it.

        Raises:
            SettingsError: the directory cannot be used.
        """
        try:
            directory = StateDirectory.claim(base / topic, str(partition))
        except OSError as error:
            raise unusable(base, error) from None
        return None if directory is None else cls._in(directory, topic, partition, schema)

    @classmethod
    def _in(cls, directory: StateDirectory, topic: str, partition: int, schema: Schema) -> Self:
        try:
            return cls._of(directory, topic, partition, schema)
        except FAULTS as error:
            directory.release()
            raise unusable(directory.path, in_full(error, directory.path / DATA)) from None
        except BaseException:
            directory.release()
            raise

    @classmethod
    def _of(cls, directory: StateDirectory, topic: str, partition: int, schema: Schema) -> Self:
        fault = directory.begin()
        try:
            return cls(directory, topic, partition, schema, fault)
        except FAULTS as error:
            if not is_fault_of_the_file(error):
                directory.healthy()
                raise
            directory.empty()
            directory.begin()
            return cls(directory, topic, partition, schema, f"its file cannot be read ({error})")

    def _read_place(self) -> None:
        of = f"{self.topic}/{self.partition}".encode()
        with self._env.begin(db=self._meta) as txn:
            found, place, since, sifted = (txn.get(key) for key in (OF, PLACE, REMAINS, SIFTED))
        if found is None:
            with self._env.begin(db=self._meta, write=True) as txn:
                txn.put(OF, of)
        elif found != of:
            raise UnusableError("it belongs to another partition")
        self.next_offset, self.began = 0, None
        self.remains_since_s = None if since is None else _SINCE.unpack(since)[0]
        if place is not None:
            self.next_offset, offset = _PLACE.unpack_from(place)
            self.began = Began(offset, place[_PLACE.size :]) if offset != NEVER else None
        self.kept_aside_by = self._noted_aside(sifted) if place is not None else None

    def _noted_aside(self, sifted: bytes | None) -> str | None:
        """The build that kept something aside; an earlier version has written the place alone, and told nothing."""
        if sifted is None or _UP_TO.unpack_from(sifted)[0] != self.next_offset:
            return EARLIER
        return self.kept_aside_by or sifted[_UP_TO.size :].decode() or None

    def keeps_aside(self) -> None:
        """Note that what is written next has something in it that this build cannot read, and another one may."""
        self.kept_aside_by = version.build()

    @property
    def may_lack(self) -> bool:
        """Whether another build has kept aside what this one may know: only the changelog shows it."""
        return self.kept_aside_by is not None and self.kept_aside_by != version.build()

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """A value."""
        try:
            return (self._reader or self._begin_reading()).get(key, None, self._values)
        except lmdb.Error as error:
            self._judge(error)
            return None

    def derived(self, key: bytes) -> bytes | None:
        """A derived value."""
        self._looks += 1
        if not self._looks % LOOK_EVERY and self._maps_too_much() and self._writing.acquire(blocking=False):
            try:
                self._map_anew()
            finally:
                self._writing.release()
        try:
            return (self._reader or self._begin_reading()).get(key, None, self._derived)
        except lmdb.Error as error:
            self._judge(error)
            return None

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Derived values, see `KeyValueStore`; not to be read on after a write."""
        try:
            with (self._reader or self._begin_reading()).cursor(self._derived) as cursor:
                if not backwards:
                    if cursor.set_range(start):
                        for key, value in cursor:
                            if key >= stop:
                                return
                            yield key, value
                elif cursor.prev() if cursor.set_range(stop) else cursor.last():
                    for key, value in cursor.iterprev():
                        if key < start:
                            return
                        yield key, value
        except lmdb.Error as error:
            raise self._fault(error) from error

    def _judge(self, error: lmdb.Error) -> None:
        """A key that no store takes has no value; anything else that LMDB complains of is a fault."""
        if not isinstance(error, lmdb.BadValsizeError):
            raise self._fault(error) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The values whose keys begin with `prefix`, in the order of keys; not to be read on after a write."""
        try:
            with (self._reader or self._begin_reading()).cursor(self._values) as cursor:
                if not cursor.set_range(prefix):
                    return
                for key, value in cursor:
                    if not key.startswith(prefix):
                        return
                    yield key, value
        except lmdb.Error as error:
            raise self._fault(error) from error

    def differing(self) -> list[bytes]:
        """The keys that must be written to the changelog again, for as long as nobody has written them.

        Their latest record there is not what this store has: a late record of an earlier owner lies on top of others,
        and after a compaction it would be all that is left of them.
        """
        try:
            with self._env.begin(db=self._differing) as txn, txn.cursor() as cursor:
                return list(cursor.iternext(keys=True, values=False))
        except lmdb.Error as error:
            raise self._fault(error) from error

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(
        self, values: Mapping[bytes, bytes | None], derived: Mapping[bytes, bytes | None], next_offset: int
    ) -> None:
        """Write values that the changelog has up to `next_offset`, and derived values.

        A large write is several transactions, each with all that it has of a group, and the last with the offset: a
        crash in between leaves values that are read once more.
        """
        for keys, beside, last in slices(values, derived, lambda: SLICE_KEYS, self.schema):

            def do(txn: lmdb.Transaction[bytes], keys: list[bytes] = keys, beside: list[bytes] = beside) -> bool:
                put_all(txn, self._derived, derived, beside)
                if txn.stat(self._differing)["entries"]:
                    for key in keys:
                        txn.delete(key, db=self._differing)
                return put_all(txn, self._values, values, keys, self.schema)

            self._write(do, next_offset if last else self.next_offset, self.began)

    def absorb(
        self,
        changes: Iterable[Change],
        next_offset: int,
        began: Began | None,
        is_called_off: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take in what the changelog has up to `next_offset`, in its order; transactions as for `write`, or larger.

        A key that has another value gets what both make, and may be `differing` then; the derived values of its group
        are deleted. `began` is the last record of the kind among them, if there is one: it is not merged, the last one
        holds. `is_called_off` is asked before each transaction: what was taken in by then is read once more.
        """
        news = collapse(changes, self.schema.merge)
        self._pass_over_what_is_outdated(news)
        for keys, _, last in slices(news, {}, lambda: self._times * SLICE_KEYS, self.schema):
            if is_called_off():
                return
            if last:
                self._take_in(news, keys, began, next_offset, began or self.began)
            else:
                self._take_in(news, keys, began, self.next_offset, self.began)

    def _take_in(
        self, news: Mapping[bytes, News], keys: list[bytes], told: Began | None, next_offset: int, began: Began | None
    ) -> None:
        """One transaction of `absorb`; how long it takes decides how large the next one is."""
        worked_s = 0.0

        def do(txn: lmdb.Transaction[bytes]) -> bool:
            nonlocal worked_s
            begun_at = monotonic()
            remains = take_in(
                txn, self._values, self._derived, news, keys, differing=self._differing, schema=self.schema
            )
            if told is not None:
                txn.put(BEGAN, told.value, db=self._values)
            worked_s += monotonic() - begun_at
            return remains

        started_at = monotonic()
        self._write(do, next_offset, began)
        self._times = next_size(self._times, worked_s, monotonic() - started_at - worked_s)

    def _pass_over_what_is_outdated(self, news: dict[bytes, News]) -> None:
        """Let no value from before its group was emptied be merged with what came after, in these records or later.

        Its tombstone may be gone: compaction keeps one (`delete.retention.ms`) only while nothing newer has its key.
        """
        schema = self.schema
        if not schema.mark:
            return
        for mark in [key for key in news if key.endswith(schema.mark)]:
            since = news[mark].value
            if since is None or since == self.get(mark):
                continue
            for key, value in self.scan(schema.group_of(mark) + schema.separator):
                if schema.is_outdated(key, value, since):
                    news.setdefault(key, News(None, None, anew=True)).anew = True

    def _write(self, do: Callable[[lmdb.Transaction[bytes]], bool], next_offset: int, began: Began | None) -> None:
        place = _PLACE.pack(next_offset, began.offset if began else NEVER) + (began.value if began else b"")
        with self._writing:
            self._end_reading()
            self._look()
            try:
                while not self._has_written(do, place):
                    self._map_bytes *= 2
                    self._env.set_mapsize(self._map_bytes)
            except lmdb.Error as error:  # the transaction did not happen, and the files are as they were
                raise self._fault(error) from error
            self.next_offset, self.began = next_offset, began
            if self._maps_too_much():
                self._map_anew()
        if self._opened_at is not None and time.monotonic() - self._opened_at > HEALTHY_AFTER_S:
            self._opened_at = None
            self._directory.healthy()

    def _has_written(self, do: Callable[[lmdb.Transaction[bytes]], bool], place: bytes) -> bool:
        """One transaction; whether it had room in the map."""
        since_s = self.remains_since_s
        try:
            with self._env.begin(write=True) as txn:
                if do(txn) and since_s is None:
                    since_s = int(time.time())
                    txn.put(REMAINS, _SINCE.pack(since_s), db=self._meta)
                txn.put(PLACE, place, db=self._meta)
                txn.put(SIFTED, place[: _UP_TO.size] + (self.kept_aside_by or "").encode(), db=self._meta)
        except lmdb.MapFullError:
            return False
        self.remains_since_s = since_s
        return True

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many values it holds, the moment when the state began among them."""
        try:
            with self._env.begin() as txn:
                return int(txn.stat(self._values)["entries"])
        except lmdb.Error as error:
            raise self._fault(error) from error

    def measure(self) -> Measure | None:
        """How large it is: as it was last time while it is just being written, None as long as nothing was seen.

        For who only shows it: what hinders the look is no verdict on the files.
        """
        if self._writing.acquire(blocking=False):
            try:
                size = (self._directory.path / DATA).stat().st_size
                with self._env.begin() as txn:
                    self._measured = Measure(size, int(txn.stat(self._values)["entries"]))
            except (OSError, lmdb.Error):
                pass  # the next use of the file raises and is reported
            finally:
                self._writing.release()
        return self._measured
