"""A partition's facts for the decisions: what is in the mirror, with what chunks on their way have put over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from pipeline.errors import ContractViolationError, TopicError
from pipeline.transform.state.border import is_fact
from pipeline.transform.state.changes import MAX_KEY_BYTES, Merge, News, customer_of
from pipeline.transform.state.coverage import Coverage
from pipeline.transform.state.facts import NUL, prefix
from pipeline.transform.state.mirror import Mirror
from pipeline.transform.state.ownership import Ownership
from pipeline.transform.state.shelf import merged, overlaid

_MISSING: Final = object()


@dataclass(slots=True)
class ChunkWrites:
    """What one chunk of webhooks put: the last value of each fact, in the order of the first puts, and the sheets.

    With the sheets goes what lies beside them.
    """

    number: int
    facts: dict[bytes, bytes | None] = field(default_factory=dict)
    sheets: dict[bytes, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.facts or self.sheets)


class MirroredShelf:
    """A `Shelf` over a mirror, for as long as one assignment of the partition lasts.

    Put facts, `seal` them with their chunk, `store` them when they are durable in the changelog. Until then later
    reads see them, and nobody else does: a shelf that is given up takes them with it.
    """

    def __init__(self, mirror: Mirror, began_at_ms: int, ownership: Ownership | None = None) -> None:
        self.began_at_ms = began_at_ms
        self.ownership = ownership
        self._mirror: Mirror | None = mirror
        self._facts: dict[bytes, dict[bytes, tuple[bytes | None, int]]] = {}
        self._sheets: dict[bytes, dict[bytes, tuple[bytes | None, int]]] = {}
        self._known: dict[bytes, bytes | None] = {}  # what the mirror said while this chunk was made
        self._open = ChunkWrites(0)
        self._coverage = Coverage(mirror.next_offset)
        self._written = mirror.next_offset
        self._gap_read: tuple[int, int] | None = None  # with which chunk, and up to where
        self._held = 0

    @property
    def mirror(self) -> Mirror:
        """Where it lies."""
        if self._mirror is None:
            raise ContractViolationError("a shelf was used after its partition had gone")
        return self._mirror

    # --- Shelf --------------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        put = self._facts.get(key[: key.find(NUL)])
        if put is not None and (entry := put.get(key)) is not None:
            return entry[0]
        known = self._known.get(key, _MISSING)
        if known is _MISSING:
            known = self._known[key] = self.mirror.get(key)
        return known  # type: ignore[return-value]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `Shelf`; the prefix names a customer."""
        stored = self.mirror.scan(prefix)
        customer, nul, _ = prefix.partition(NUL)
        if not nul:
            raise ContractViolationError("a scan goes through one customer's facts")
        put = self._facts.get(customer)
        return merged(stored, put, prefix) if put else stored

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `Shelf`.

        Raises:
            ContractViolationError: no mirror takes such a key.
        """
        if len(key) > MAX_KEY_BYTES or key.find(NUL) < 0:
            raise ContractViolationError(f"a fact's key has {len(key)} bytes, or names no customer")
        if self.get(key) != value:
            self.write(key, value)

    def write(self, key: bytes, value: bytes | None) -> None:
        """Put it whatever is there, so that it comes to lie on top in the changelog."""
        self._facts.setdefault(key[: key.find(NUL)], {})[key] = (value, self._open.number)
        self._open.facts[key] = value

    def sheet(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        kept = self._sheets.get(customer_of(key))
        if kept is not None and (entry := kept.get(key)) is not None:
            return entry[0]
        return self.mirror.sheet(key)

    def entries(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `Shelf`."""
        stored = self.mirror.entries(start, stop, backwards=backwards)
        kept = self._sheets.get(customer_of(start))
        mine = {key: entry for key, entry in kept.items() if start <= key < stop} if kept else None
        return overlaid(stored, mine, backwards=backwards) if mine else stored

    def keep(self, key: bytes, sheet: bytes | None) -> None:
        """See `Shelf`."""
        self._sheets.setdefault(customer_of(key), {})[key] = (sheet, self._open.number)
        self._open.sheets[key] = sheet

    # --- chunks -------------------------------------------------------------------------------------------------------

    def seal(self) -> ChunkWrites:
        """What was put since the last seal; what follows belongs to the next chunk."""
        sealed = self._open
        self._open = ChunkWrites(sealed.number + 1)
        self._known.clear()
        return sealed

    def store(self, chunks: Sequence[ChunkWrites], offsets: Sequence[range | None]) -> None:
        """These sealed chunks, the oldest there are, are durable in the changelog at these offsets (None: unknown).

        Raises:
            TopicError: the offsets went back, the topic is another one.
            SettingsError: the disk is full.
            StateError: the mirror is broken.
        """
        if not chunks:
            return
        for chunk, where in zip(chunks, offsets, strict=True):
            if self._gap_read is not None and chunk.number >= self._gap_read[0]:
                self._coverage.found(self._gap_read[1])
                self._gap_read = None
            if where is not None:
                self._check_order(where)
                self._coverage.add(where.start, where.stop)
            elif chunk.facts:
                self._coverage.lose()
        first, *more = chunks
        facts, sheets = first.facts, first.sheets
        if more:
            facts, sheets = dict(facts), dict(sheets)
            for chunk in more:
                facts |= chunk.facts
                sheets |= chunk.sheets
        self.mirror.write(facts, sheets, self._coverage.next_offset)
        last = chunks[-1].number
        pending = self._facts
        for key in facts:
            customer = key[: key.find(NUL)]
            put = pending[customer]
            if put[key][1] <= last:
                del put[key]
                if not put:
                    del pending[customer]
        kept = self._sheets
        for key in sheets:
            customer = customer_of(key)
            beside = kept[customer]
            if beside[key][1] <= last:
                del beside[key]
                if not beside:
                    del kept[customer]
        self._known.clear()

    def _check_order(self, where: range) -> None:
        if where.start < self._written:
            mirror = self.mirror
            raise TopicError(
                f"{mirror.topic}/{mirror.partition}: offset {where.start} was written after {self._written - 1}: the "
                "topic was made anew or cut while this worker ran; start it again"
            )
        self._written = where.stop

    @property
    def has_gap(self) -> bool:
        """Whether the changelog has records between ours that nobody has read."""
        return self._coverage.has_gap and self._gap_read is None

    def hear(self, news: Mapping[bytes, News], merge: Merge) -> None:
        """Take in what others made of facts: what differs is put with the open chunk, on top of theirs.

        The topic's order decides about what was taken away. What is put here and not stored yet lies behind it, or
        is put once more.

        Args:
            news: what the changelog has beyond what is stored, in its order.
            merge: makes one of two tellings.
        """
        dropped: set[bytes] = set()
        for key, told in news.items():
            mine = self.get(key)
            if self._is_pending(key):
                both = mine if told.value is None or mine is None else merge(key, mine, told.value)
            elif told.value is None or told.anew or mine is None:
                both = told.value
            else:
                both = merge(key, mine, told.value)
            is_news = both != mine or both not in {None, told.latest}
            if is_news and (both is None or is_fact(key, both)):
                self.write(key, both)
            if both != mine and (customer := customer_of(key)) and customer not in dropped:
                dropped.add(customer)
                begin = prefix(customer)
                for beside in [beside for beside, _ in self.entries(begin, begin + b"\xff")]:
                    self.keep(beside, None)
                self.keep(customer, None)

    def _is_pending(self, key: bytes) -> bool:
        return key in self._facts.get(customer_of(key), ())

    def gap_read(self, end: int) -> None:
        """What the changelog has below `end` is known, once the open chunk is stored."""
        self._gap_read = (self._open.number, end)

    @property
    def is_held(self) -> bool:
        """Whether nothing may be stored at the moment: the mirror's file is being written anew."""
        return self._held > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is stored meanwhile."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def give_up(self) -> None:
        """Forget what is pending; whatever still holds this shelf can do nothing with it."""
        self._mirror = None
        self._facts.clear()
        self._sheets.clear()
        self._known.clear()

    @property
    def is_given_up(self) -> bool:
        """Whether its partition has gone, or was assigned anew."""
        return self._mirror is None
