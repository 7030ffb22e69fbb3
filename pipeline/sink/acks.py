"""Acknowledgements: which records are done, as a contiguous prefix for each partition of an assignment.

Lanes finish records of a partition in any order; Kafka knows one committed offset. So a record counts only when every
record before it is done as well: a crash then repeats some, and skips none.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol

from faust.types import TP

from pipeline.kafka.records import Record
from pipeline.kafka.worker.done_ahead import SPAN
from pipeline.sink.handover import Assignment

DONE: Final = 1
NOTHING: Final = -1
"""Below every offset."""

UNLIMITED: Final = 2**63
"""Above every offset."""

_DIGITS: Final = bytes(ord("1") if flag == DONE else ord("0") for flag in range(256))

_OFFSET: Final = attrgetter("offset")
_TIMESTAMP: Final = attrgetter("timestamp")


class Delivered(Protocol):
    """A chunk as the transport hands it over; `pipeline.kafka.worker.batches.RecordBatch` fits."""

    @property
    def topic(self) -> str:
        """The topic of all its records."""

    @property
    def partition(self) -> int:
        """The partition of all its records."""

    @property
    def generation(self) -> int:
        """The membership under which it was fetched."""

    @property
    def behind(self) -> int:
        """Offsets that the partition has beyond it, as far as known."""

    @property
    def records(self) -> Sequence[Record]:
        """The records, offsets rising."""

    @property
    def acknowledge(self) -> Callable[[int], None]:
        """`ack(through)` that does not keep the records alive."""

    def report(self, done_bits: Callable[[], int], /) -> Callable[[], None]:
        """Let commits carry which records are done beyond the prefix; returns what to call when more are."""


class TrackedChunk:
    """One delivered chunk: which of its records are done.

    It keeps offsets and times, 17 bytes a record, and not the records: while one lane is stuck, the others' finished
    records must not stay in memory with it.

    `flags` has a byte for each record; one that is `DONE` is not acknowledged before `advance`.
    """

    __slots__ = ("_ack", "_head", "_offsets", "_times", "assignment", "flags", "more_done", "window")

    def __init__(self, batch: Delivered, window: Window, assignment: Assignment) -> None:
        self.assignment = assignment
        self.window = window
        self._ack = batch.acknowledge
        self.flags = bytearray(len(batch.records))
        self._offsets: array[int] = array("q", map(_OFFSET, batch.records))
        self._times: array[int] = array("q", map(_TIMESTAMP, batch.records))
        self._head = 0
        self.more_done = batch.report(self.done_bits)

    @property
    def complete(self) -> bool:
        """Whether every record is done; known after `advance`."""
        return self._head == len(self.flags)

    @property
    def undone(self) -> int:
        """How many records are not done."""
        return len(self.flags) - self.flags.count(DONE)

    @property
    def head(self) -> int:
        """Index of the first record that is not done; known after `advance`."""
        return self._head

    @property
    def oldest_ms(self) -> int:
        """The time of the first record that is not done."""
        return self._times[self._head]

    @property
    def furthest_done(self) -> int:
        """The highest offset that is done, whatever is not done before it."""
        index = self.flags.rfind(DONE)
        return self._offsets[index] if index >= 0 else NOTHING

    def done_bits(self) -> int:
        """Which offsets are done, bit 0 being that of the first record."""
        flags, offsets = self.flags, self._offsets
        first, length = offsets[0], offsets[-1] - offsets[0] + 1
        if length != len(offsets):  # some are missing: compaction, transactions
            sparse = bytearray(min(length, SPAN))
            for offset, flag in zip(offsets, flags, strict=True):
                if offset - first < SPAN:
                    sparse[offset - first] = flag
            flags = sparse
        return int(flags[::-1].translate(_DIGITS), 2)

    def offset(self, index: int) -> int:
        """The offset of the record at `index`."""
        return self._offsets[index]

    def advance(self) -> None:
        """Acknowledge the prefix as far as it is done. Only the first chunk of a window may."""
        head = self.flags.find(0, self._head)
        head = len(self.flags) if head < 0 else head
        if head > self._head:
            self._head = head
            self._ack(self._offsets[head - 1])


class Window:
    """The chunks of one partition and assignment that are not done, in the order in which they came.

    `limit` is the offset through which records are worked on: all of them, until a hand-over begins.
    """

    __slots__ = ("chunks", "limit")

    def __init__(self) -> None:
        self.chunks: deque[TrackedChunk] = deque()
        self.limit = UNLIMITED

    def advance(self) -> None:
        """Acknowledge what is now contiguous."""
        while self.chunks:
            self.chunks[0].advance()
            if not self.chunks[0].complete:
                return
            self.chunks.popleft()


@dataclass(frozen=True, slots=True)
class OldestRecord:
    """The oldest record of a partition that is not done, or the next one to be taken in."""

    chunk: TrackedChunk
    index: int


class Placed(Protocol):
    """Something that knows its record's place; `pipeline.sink.item.Item` fits."""

    @property
    def chunk(self) -> TrackedChunk:
        """Its chunk."""

    @property
    def index(self) -> int:
        """Its place in the chunk."""


def is_owed(item: Placed) -> bool:
    """Whether the record is worked on: always, but for what a hand-over leaves to the next owner."""
    return item.chunk.offset(item.index) <= item.chunk.window.limit


class Acks:
    """The windows of all partitions of one assignment. Belongs to one event loop."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int], Window] = {}

    def open(self, batch: Delivered, assignment: Assignment) -> TrackedChunk:
        """Take note of a chunk that was delivered in `assignment`; it is never empty."""
        window = self._windows.setdefault((batch.topic, batch.partition), Window())
        chunk = TrackedChunk(batch, window, assignment)
        window.chunks.append(chunk)
        return chunk

    def complete(self, items: Iterable[Placed]) -> None:
        """The records of `items` are accepted or dead-lettered: acknowledge what is contiguous by now."""
        touched: dict[Window, None] = {}
        last: TrackedChunk | None = None
        for item in items:
            chunk = item.chunk
            chunk.flags[item.index] = DONE
            if chunk is not last:
                last = chunk
                touched[chunk.window] = None
        for window in touched:
            window.advance()
            if window.chunks:
                window.chunks[0].more_done()

    def finish(self, begun: Iterable[Placed], given_up: Iterable[Placed]) -> None:
        """A hand-over begins: from now on only records below something that already left are worked on.

        Args:
            begun: records in requests that are on their way; they may yet be done.
            given_up: records that will not be done any more, so that nothing beyond them can be acknowledged.
        """
        for window in self._windows.values():
            window.limit = max((chunk.furthest_done for chunk in window.chunks), default=NOTHING)
        for item in begun:
            window = item.chunk.window
            window.limit = max(window.limit, item.chunk.offset(item.index))
        self.give_up(given_up)

    def give_up(self, items: Iterable[Placed]) -> None:
        """These records are left to the partition's next owner, and so is all that comes after them."""
        for item in items:
            window = item.chunk.window
            window.limit = min(window.limit, item.chunk.offset(item.index) - 1)

    def restart(self) -> None:
        """Another assignment begins: forget all windows, their records come again."""
        self._windows = {}

    @property
    def undone(self) -> int:
        """Records that are delivered and not done."""
        return sum(chunk.undone for window in self._windows.values() for chunk in window.chunks)

    def heads(self) -> dict[TP, OldestRecord]:
        """The oldest record of each partition that has one which is not done."""
        return {
            TP(topic, partition): OldestRecord(window.chunks[0], window.chunks[0].head)
            for (topic, partition), window in self._windows.items()
            if window.chunks
        }

    @property
    def oldest_ms(self) -> int | None:
        """The time (unix ms) of the oldest record that holds a partition back, None when all is done."""
        return min((head.chunk.oldest_ms for head in self.heads().values()), default=None)
