"""Transactions of a store: what a chunk of records has written, in memory over the store until it is committed.

As with a transaction of Quix Streams or the cache over a store of Kafka Streams: reads see the chunk's own writes at
once, the changelog gets them when the chunk is done, and the local store only after they are durable there. Reads,
commits and the closing of a gap are in one class, since all work on the same layers of writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from pipeline import logs
from pipeline.errors import ContractViolationError, PipelineError, TopicError
from pipeline.statestore.changes import MAX_KEY_BYTES, Change, News
from pipeline.statestore.checkpoint import Checkpoint
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.schema import Schema
from pipeline.statestore.store import merged, overlaid

FLUSH_TRANSACTIONS = 16
FLUSH_KEYS = 4000
"""After so many committed transactions, or keys in them, the local store is written. Keys that lie side by side share a
page, and each write costs some of its own. It bounds what waits in memory, and what a restart reads again. Not
`Final`: machine code takes such a number when it is built, and tests of what is written together lower them."""

GONE: Final = "a state store was used after its partition had gone"

_MISSING: Final = object()

log = logs.get(__name__)


@dataclass(slots=True)
class Transaction:
    """What one chunk of records wrote: the last value of each key, in the order of the last puts; None deletes it.

    `values` go to the changelog, `derived` values into the local store alone. `deleted`: keys that were deleted in it,
    whatever was put after that.
    """

    number: int
    values: dict[bytes, bytes | None] = field(default_factory=dict)
    derived: dict[bytes, bytes | None] = field(default_factory=dict)
    deleted: set[bytes] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.values or self.derived)

    def changes(self) -> Iterable[Change]:
        """The changelog's records, in order.

        A key that was deleted and put again has its tombstone first: without it, a restore that begins at an older
        checkpoint would merge what was deleted with what came after.
        """
        if not self.deleted:
            return self.values.items()
        return [
            change
            for key, value in self.values.items()
            for change in ([(key, None)] if value is not None and key in self.deleted else []) + [(key, value)]
        ]


class TransactionalStore:
    """A `KeyValueStore` with transactions over the local store, for as long as one assignment of the partition lasts.

    Put values, `seal` them as their chunk's transaction, `commit` it when it is durable in the changelog. Until then
    later reads see them, and nobody else does: a store that is given up takes them with it. What is committed is
    written to the local store several transactions at a time, by `flush` at the latest.
    """

    def __init__(self, local: LmdbStore, began_at_ms: int, ownership: Ownership | None = None) -> None:
        self.began_at_ms = began_at_ms
        self.ownership = ownership
        self.schema: Schema = local.schema
        self._separator = local.schema.separator
        self._local: LmdbStore | None = local
        self._values: dict[bytes, dict[bytes, tuple[bytes | None, int]]] = {}
        self._derived: dict[bytes, dict[bytes, tuple[bytes | None, int]]] = {}
        self._known: dict[bytes, bytes | None] = {}  # what the local store returned while this chunk was made
        self._open = Transaction(0)
        self._checkpoint = Checkpoint(local.next_offset)
        self._written = local.next_offset
        self._committed: list[Transaction] = []  # durable in the changelog, and not in the local store yet
        self._committed_keys = 0
        self._gap_read: tuple[int, int] | None = None  # with which chunk, and up to where
        self._overtaking: set[bytes] | None = None  # keys that were committed while a gap was being read
        self._held = 0

    @property
    def local(self) -> LmdbStore:
        """The copy on the disk."""
        if self._local is None:
            raise ContractViolationError(GONE)
        return self._local

    # --- KeyValueStore ------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        put = self._values.get(key[: key.find(self._separator)]) if self._values else None
        if put is not None and (entry := put.get(key)) is not None:
            return entry[0]
        known = self._known.get(key, _MISSING)
        if known is _MISSING:
            known = self._known[key] = self.local.get(key)
        return known  # type: ignore[return-value]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `KeyValueStore`; the prefix names a group."""
        stored = self.local.scan(prefix)
        group, nul, _ = prefix.partition(self._separator)
        if not nul:
            raise ContractViolationError("a scan goes through the keys of one group")
        put = self._values.get(group)
        return merged(stored, put, prefix) if put else stored

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`.

        Raises:
            ContractViolationError: no local store takes such a key.
        """
        if len(key) > MAX_KEY_BYTES or self._separator not in key:
            raise ContractViolationError(f"a key has {len(key)} bytes, or names no group")
        if self.get(key) != value:
            self.write(key, value)

    def write(self, key: bytes, value: bytes | None) -> None:
        """Put it whatever is there, so that it comes to lie on top in the changelog."""
        transaction, group = self._open, key[: key.find(self._separator)]
        mine = self._values.get(group)
        if mine is None:
            mine = self._values[group] = {}
        mine[key] = (value, transaction.number)
        # A crash may leave the first of them alone: what is deleted goes behind all that was put before it.
        transaction.values.pop(key, None)
        transaction.values[key] = value
        if value is None:
            transaction.deleted.add(key)

    def derived(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        kept = self._derived.get(self.schema.group_of(key))
        if kept is not None and (entry := kept.get(key)) is not None:
            return entry[0]
        return self.local.derived(key)

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `KeyValueStore`."""
        stored = self.local.derived_between(start, stop, backwards=backwards)
        kept = self._derived.get(self.schema.group_of(start))
        mine = {key: entry for key, entry in kept.items() if start <= key < stop} if kept else None
        return overlaid(stored, mine, backwards=backwards) if mine else stored

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        transaction = self._open
        self._derived.setdefault(self.schema.group_of(key), {})[key] = (value, transaction.number)
        transaction.derived[key] = value

    # --- transactions -------------------------------------------------------------------------------------------------

    def seal(self) -> Transaction:
        """What was put since the last seal; what follows belongs to the next chunk."""
        sealed = self._open
        self._open = Transaction(sealed.number + 1)
        self._known.clear()
        return sealed

    def commit(self, transactions: Sequence[Transaction], offsets: Sequence[range | None]) -> None:
        """Take these, the oldest there are, for committed: they are durable in the changelog at these offsets.

        None in place of offsets: nobody knows where they lie. Several of them are written to the local store at once
        (see `flush`): a crash before that costs nothing but reading them again, from the checkpoint on.

        Raises:
            TopicError: the offsets went back, the topic is another one.
            SettingsError: the disk is full.
            StateError: the local store is broken.
        """
        if self.is_given_up:
            raise ContractViolationError(GONE)
        for one, where in zip(transactions, offsets, strict=True):
            if self._gap_read is not None and one.number >= self._gap_read[0]:
                self._checkpoint.found(self._gap_read[1])
                self._gap_read = None
            if where is not None:
                self._check_order(where)
                self._checkpoint.add(where.start, where.stop)
            elif one.values:
                self._checkpoint.lose()
            if self._overtaking is not None:
                self._overtaking.update(one.values)
            self._committed.append(one)
            self._committed_keys += len(one.values) + len(one.derived)
        if len(self._committed) >= FLUSH_TRANSACTIONS or self._committed_keys >= FLUSH_KEYS:
            self.flush()

    @property
    def is_flushed(self) -> bool:
        """Whether the local store has all that is committed."""
        return not self._committed

    def flush(self) -> None:
        """Write what is committed to the local store, with the checkpoint.

        Raises:
            SettingsError: the disk is full.
            StateError: the local store is broken.
        """
        if not self._committed:
            return
        first, *more = self._committed
        values, derived = first.values, first.derived
        if more:
            values, derived = dict(values), dict(derived)
            for one in more:
                values |= one.values
                derived |= one.derived
        self.local.write(values, derived, self._checkpoint.next_offset)
        last = self._committed[-1].number
        self._committed.clear()
        self._committed_keys = 0
        pending = self._values
        for key in values:
            group = key[: key.find(self._separator)]
            put = pending[group]
            if put[key][1] <= last:
                del put[key]
                if not put:
                    del pending[group]
        kept = self._derived
        for key in derived:
            group = self.schema.group_of(key)
            beside = kept[group]
            if beside[key][1] <= last:
                del beside[key]
                if not beside:
                    del kept[group]
        self._known.clear()

    def _check_order(self, where: range) -> None:
        if where.start < self._written:
            local = self.local
            raise TopicError(
                f"{local.topic}/{local.partition}: offset {where.start} was written after {self._written - 1}: the "
                "topic was made anew or cut while this worker ran; start it again"
            )
        self._written = where.stop

    @property
    def has_gap(self) -> bool:
        """Whether the changelog has records between ours that nobody has read."""
        return self._checkpoint.has_gap and self._gap_read is None

    def gap_begins(self) -> None:
        """Say that the changelog is being read for `merge_in`: what is committed meanwhile may lie behind that."""
        self._overtaking = set()

    def merge_in(self, news: Mapping[bytes, News]) -> None:
        """Merge what others wrote to the changelog: what differs is put with the open transaction, on top of theirs.

        The topic's order decides about what was deleted. What is put here and was not committed when the reading began
        lies behind it, or is put once more. A value from before its group was emptied does not count, wherever it lies.

        Args:
            news: what the changelog has beyond what was committed when it began to be read, in its order.
        """
        self.flush()  # what is committed lies below what others wrote since, and is not pending
        overtaking, self._overtaking = self._overtaking or (), None
        merge, group_of = self.schema.merge, self.schema.group_of
        dropped: set[bytes] = set()
        marks = self._marks(news)
        for key, told in news.items():
            mine = self.get(key)
            if self._is_outdated(key, told.value, marks):
                # A former owner's write was late: it lies behind the tombstones, and would be read as what came since.
                both, is_news = None if self._is_outdated(key, mine, marks) else mine, True
            elif self._is_pending(key) or key in overtaking:
                both = mine if told.value is None or mine is None else merge(key, mine, told.value)
                is_news = both != mine or both != told.latest
            else:
                both = told.value if told.value is None or told.anew or mine is None else merge(key, mine, told.value)
                is_news = both != mine or both not in {None, told.latest}
            if is_news and (both is None or self.schema.is_readable(key, both)):
                self.write(key, both)
            if both != mine and (group := group_of(key)) and group not in dropped:
                dropped.add(group)
                begin = group + self._separator
                for beside in [beside for beside, _ in self.derived_between(begin, begin + b"\xff")]:
                    self.put_derived(beside, None)
                self.put_derived(group, None)

    def _marks(self, news: Mapping[bytes, News]) -> dict[bytes, bytes | None]:
        """Of the groups in `news` the mark under which they were emptied, with what is news of it."""
        schema, marks = self.schema, dict[bytes, bytes | None]()
        for group in {schema.group_of(key) for key in news} if schema.mark else ():
            mark = group + schema.mark
            mine, told = self.get(mark), news.get(mark)
            if told is None or self._is_pending(mark):
                marks[group] = mine
            else:
                value = told.value
                marks[group] = value if value is None or mine is None else schema.merge(mark, mine, value)
        return marks

    def _is_outdated(self, key: bytes, value: bytes | None, marks: Mapping[bytes, bytes | None]) -> bool:
        """Whether a value is from before its group was emptied, by these marks."""
        mark = marks.get(self.schema.group_of(key))
        return mark is not None and value is not None and self.schema.is_outdated(key, value, mark)

    def _is_pending(self, key: bytes) -> bool:
        return key in self._values.get(self.schema.group_of(key), ())

    def gap_read(self, end: int) -> None:
        """What the changelog has below `end` is known, once the open transaction is committed."""
        self._gap_read = (self._open.number, end)

    @property
    def is_held(self) -> bool:
        """Whether nothing may be committed at the moment: the local store's file is being written anew."""
        return self._held > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is committed meanwhile. `flush` first: whoever gives the store up waits for no file."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def give_up(self) -> None:
        """Write what is committed, and forget what is pending; whoever still holds it can do nothing with it."""
        try:
            if not self.is_given_up:
                self.flush()
        except PipelineError as error:
            log.warning(
                "What was committed last is not in the local mirror of a partition, and is read from the topic again",
                topic=self.local.topic, partition=self.local.partition, error=str(error),
            )  # fmt: skip
        self._local = None
        self._committed.clear()
        self._values.clear()
        self._derived.clear()
        self._known.clear()

    @property
    def is_given_up(self) -> bool:
        """Whether its partition has gone, or was assigned anew."""
        return self._local is None
