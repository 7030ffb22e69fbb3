"""The file of a local store: LMDB, opened and checked, mapped anew, written anew without remains, and closed."""

from __future__ import annotations

import os
import struct
import threading
import time
from typing import Final

import lmdb

from pipeline import private
from pipeline.errors import PipelineError, StateError
from pipeline.statestore.compaction import copy
from pipeline.statestore.directory import COPY, DATA, SHORT_BYTES, StateDirectory
from pipeline.statestore.disk import errno_of, in_full, is_broken, unusable
from pipeline.statestore.memory import mapped_bytes

FIRST_MAP_BYTES: Final = 64 * 1024 * 1024
"""Address space, not memory; doubled whenever it is full."""

MAX_MAPPED_BYTES: Final = 32 * 1024 * 1024
"""Pages of the file that stay mapped count as this process's memory, though the kernel could take them back at once. A
store that sees more of them mapped at a write maps its file anew."""

REMAINS: Final = b"remains"
"""Key of the time since which the file holds remains; not copied into a file that is written anew."""


class LmdbFile:
    """One LMDB file in a state directory: values, derived values, keys to be written again, and what it is itself.

    Whoever writes, copies, maps anew or closes it holds `_writing`. `_read_place` is called whenever it was opened.
    """

    def __init__(self, directory: StateDirectory, topic: str, partition: int, why_empty: str | None) -> None:
        self.topic = topic
        self.partition = partition
        self.why_empty = why_empty
        self._directory = directory
        self._writing = threading.Lock()
        self._copied: int | None = None  # the last transaction that the copy has
        self._gives_up = False
        self._map_bytes = FIRST_MAP_BYTES
        self._opened_at: float | None = time.monotonic()
        self._reader: lmdb.Transaction[bytes] | None = None
        self._open()

    def _read_place(self) -> None:
        """Read what the file records of itself: offset, count and the `BEGAN` record.

        Raises:
            UnusableError: it is not what it should be.
        """
        raise NotImplementedError

    def _open(self, *, check: bool = True) -> None:
        self._env = lmdb.open(
            str(self._directory.path),
            map_size=self._map_bytes,
            mode=private.FILE,
            max_dbs=4,
            max_spare_txns=1,
            sync=False,  # the mark beside the file shows whether the machine may have lost writes
            metasync=False,
            lock=False,  # the directory is this process's, and one thread's at a time
            readahead=False,
        )
        try:
            self._check_length(check=check)
            self._values = self._env.open_db(b"facts")
            self._derived = self._env.open_db(b"sheets")
            self._differing = self._env.open_db(b"differing")  # keys alone; an earlier version knows no such database
            self._meta = self._env.open_db(b"meta")
            self._read_place()
        except BaseException:
            self._env.close()
            raise

    def _check_length(self, *, check: bool) -> None:
        """Check the file's length before its pages are read: a page beyond its end would kill this process."""
        info = self._env.info()
        self._map_bytes = info["map_size"]
        found = (self._directory.path / DATA).stat()
        self._file = _identity(found)
        if check and found.st_size + SHORT_BYTES < (info["last_pgno"] + 1) * self._env.stat()["psize"]:
            raise UnusableError("it was cut off")

    def _maps_too_much(self) -> bool:
        """Whether so much of the files is mapped that it should be given back."""
        return mapped_bytes() > MAX_MAPPED_BYTES

    def _map_anew(self) -> None:
        self._end_reading()
        self._look()  # LMDB would make a file where there is none, and nobody would miss what was in the other
        self._env.close()
        try:
            self._open(check=False)  # nobody else has written it
        except FAULTS as error:
            raise self._fault(error) from error

    def _begin_reading(self) -> lmdb.Transaction[bytes]:
        self._reader = reader = self._env.begin()
        return reader

    def _end_reading(self) -> None:
        """Without a reader a write may use the pages again that the last one freed."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    # --- what was deleted -------------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Write what it holds, and no remains, beside its file, in a thread of its own; `take_copy` comes next.

        Until then nobody should write: what was written is not in the copy, which is thrown away then. So it is when
        the store is closed meanwhile, which does not wait for all of it.

        Raises:
            SettingsError: the machine lacks something; StateError: the file cannot be read. It stays as it is.
        """
        with self._writing:
            databases = {
                b"facts": self._values, b"sheets": self._derived, b"differing": self._differing, b"meta": self._meta,
            }  # fmt: skip
            try:
                at = int(self._env.info()["last_txnid"])
                whole = copy(
                    self._env, databases, frozenset({REMAINS}), self._directory.path / COPY, lambda: not self._gives_up
                )
            except FAULTS as error:
                self.drop_copy()
                raise self._fault(error) from error
            except BaseException:
                self.drop_copy()
                raise
            if whole:
                self._copied = at
            else:
                self.drop_copy()

    def take_copy(self) -> bool:
        """Let the copy take the place of the file; False when there is none, or it lacks what was written since.

        In the thread that reads, and not while a scan is read.
        """
        with self._writing:
            self._look()
            if self._copied != self._env.info()["last_txnid"]:
                self.drop_copy()
                return False
            self._copied = None
            self._end_reading()
            self._env.close()
            try:
                self._directory.take_copy()
                self._open()
            except FAULTS as error:
                raise self._fault(error) from error
            return True

    def give_up_copy(self) -> None:
        """Let a copy that is being written end at once, and begin no other."""
        self._gives_up = True

    def drop_copy(self) -> None:
        """Remove a copy that will not be used."""
        self._copied = None
        self._directory.drop_copy()

    # --- life ---------------------------------------------------------------------------------------------------------

    def _fault(self, error: Exception) -> PipelineError:
        """The error to raise. Broken files are given up; for any other cause they are kept and not suspected."""
        what = f"the local mirror of {self.topic}/{self.partition} in {self._directory.path}"
        if is_fault_of_the_file(error):
            self._directory.condemn()
            return StateError(f"{what} is broken ({error}); the next start builds it anew from the topic")
        self._directory.healthy()
        if errno_of(error) is not None:
            return unusable(self._directory.path, in_full(error, self._directory.path / DATA))
        return StateError(f"{what} cannot be used any more ({error}); it was kept, and the next start opens it again")

    def _look(self) -> os.stat_result:
        """The state of the file at its path; raises when that is not the file that is open here."""
        try:
            found = (self._directory.path / DATA).stat()
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise self._fault(error) from error
        if found is None or _identity(found) != self._file:
            gone = UnusableError("it was removed while it was in use")
            raise self._fault(gone) from gone
        return found

    @property
    def is_broken(self) -> bool:
        """Whether its files were found broken, or removed."""
        return self._directory.is_condemned

    @property
    def is_first(self) -> bool:
        """Whether it lies in the first place of its partition; in others when another process has that."""
        return self._directory.is_first

    @property
    def size_bytes(self) -> int:
        """The size of its file."""
        return self._look().st_size

    def start_anew(self, why: str) -> None:
        """Throw away everything: the changelog is read from its start."""
        with self._writing:
            self._end_reading()
            self._env.close()
            self._map_bytes = FIRST_MAP_BYTES
            self.why_empty = why
            self._copied = None
            try:
                self._directory.empty()
                self._directory.begin()
                self._open()
            except FAULTS as error:
                raise self._fault(error) from error

    def remove(self) -> None:
        """Close it and throw its files away, for good.

        Raises:
            OSError: they cannot be removed.
        """
        with self._writing:
            self._end_reading()
            self._env.close()
            try:
                self._directory.remove()
            finally:
                self._directory.release()

    def close(self, *, clean: bool = True) -> None:
        """Close it; `clean` brings everything to the disk first, and the next one to open it trusts it."""
        self.give_up_copy()
        with self._writing:
            try:
                self._end_reading()
                if clean and not self.is_broken:
                    self._look()  # another process may have the place that was removed
                    self._env.sync(True)
                    self._env.close()
                    self.drop_copy()
                    self._directory.end()
            except (lmdb.Error, OSError) as error:
                raise self._fault(error) from error
            finally:
                self._env.close()
                self._directory.release()


class UnusableError(Exception):
    """LMDB opened the file, but its content is not that of a store."""


FAULTS: Final = (lmdb.Error, OSError, UnusableError, struct.error)
"""What a file, or the disk below it, may meet us with."""


def is_fault_of_the_file(error: Exception) -> bool:
    """Whether the file is broken, and not the machine short of something."""
    return is_broken(error) or isinstance(error, UnusableError | struct.error)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
