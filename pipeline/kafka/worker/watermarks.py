"""Watermarks: the offset up to which all records of a partition are done, and which may be committed.

Pure. Committing anything but the contiguous prefix loses records at the next crash (faust-streaming #606: an
acknowledged tail was committed over an unfinished head), so a watermark never passes a chunk that was delivered and
not acknowledged; an attempt to do so is a bug and ends the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from faust.types import TP

from pipeline.errors import ContractViolationError
from pipeline.kafka.worker.batches import DoneBits
from pipeline.kafka.worker.done_ahead import SPAN, DoneAhead, Witness, shifted

NO_INHERITANCE: Mapping[TP, DoneAhead] = {}


class PartitionWatermark:
    """The next offset to commit of one partition, for as long as one assignment of it lasts."""

    __slots__ = ("_chunks", "_done_bits", "_passed", "_witness", "inherited", "next_offset", "tp")

    def __init__(self, tp: TP, start: int, inherited: DoneAhead | None = None) -> None:
        self.tp = tp
        self.next_offset = start
        self.inherited = inherited
        self._witness = inherited.witness if inherited is not None else None
        self._done_bits: dict[tuple[int, int], DoneBits] = {}
        self._chunks: deque[tuple[int, int]] = deque()
        self._passed: deque[tuple[int, int]] = deque()

    @property
    def unfinished(self) -> int:
        """Chunks that were delivered and are not done."""
        return len(self._chunks)

    def deliver(self, first: int, last: int) -> None:
        """Offsets `first` to `last` are before the agent, after all that was delivered so far."""
        floor = self._chunks[-1][1] + 1 if self._chunks else self.next_offset
        if not floor <= first <= last:
            raise ContractViolationError(
                f"{self.tp.topic}/{self.tp.partition}: chunk {first}-{last} was delivered after offset {floor - 1}"
            )
        self._chunks.append((first, last))

    def saw(self, witness: Witness) -> None:
        """That record was read, and all before it."""
        if self._witness is None or witness.offset > self._witness.offset:
            self._witness = witness

    def ask(self, first: int, last: int, done_bits: DoneBits) -> None:
        """Let `done_bits` return which records of the chunk `first` to `last` are done, while the chunk is not."""
        if (first, last) in self._chunks:
            self._done_bits[first, last] = done_bits

    def done_ahead(self) -> DoneAhead | None:
        """What is done from the watermark on, by this assignment and by those that it inherited from."""
        base = self.next_offset
        if self._witness is None or not (self._done_bits or self.inherited):
            return None
        bits = self.inherited.since(base) if self.inherited is not None else 0
        if not bits:
            self.inherited = None  # all of it is behind the watermark
        for (first, _), done_bits in self._done_bits.items():
            if first - base < SPAN:
                bits |= shifted(done_bits(), first - base)
        bits &= (1 << SPAN) - 1
        return DoneAhead(base, bits, self._witness) if bits else None

    def withdraw(self) -> None:
        """The chunk delivered last did not reach the agent after all."""
        self._done_bits.pop(self._chunks.pop(), None)

    def pass_over(self, start: int, stop: int) -> bool:
        """From `start`, behind all that was delivered so far, to `stop` (exclusive) there is nothing; whether it moved.

        Nobody acknowledges those offsets, so they are done as soon as everything before them is. Else a marker at the
        end of the log, or what an aborted transaction left there, would look like a record that waits, for ever.
        """
        if self._chunks and start <= self._chunks[-1][1]:
            raise ContractViolationError(
                f"{self.tp.topic}/{self.tp.partition}: offsets {start}-{stop - 1} were passed over, but offset "
                f"{self._chunks[-1][1]} was delivered"
            )
        self._passed.append((start, stop))
        return self._over_what_is_nothing()

    def _over_what_is_nothing(self) -> bool:
        before = self.next_offset
        while self._passed and self._passed[0][0] <= self.next_offset:
            self.next_offset = max(self._passed.popleft()[1], self.next_offset)
        return self.next_offset > before

    def acknowledge(self, first: int, last: int, through: int) -> bool:
        """Offsets up to `through` of the chunk `first` to `last` are done; whether the watermark moved.

        Raises:
            ContractViolationError: an earlier chunk is not done, or `through` is beyond the chunk.
        """
        if through > last:
            raise ContractViolationError(
                f"{self.tp.topic}/{self.tp.partition}: offset {through} was acknowledged with chunk {first}-{last}"
            )
        if through < first or through < self.next_offset:
            return False
        head = self._chunks[0] if self._chunks else None
        if head != (first, last):
            raise ContractViolationError(
                f"{self.tp.topic}/{self.tp.partition}: offset {through} was acknowledged while the chunk "
                f"{f'{head[0]}-{head[1]}' if head else 'before it'} is not done"
            )
        self.next_offset = through + 1
        if through == last:
            self._chunks.popleft()
            self._done_bits.pop((first, last), None)
            self._over_what_is_nothing()
        return True


class Watermarks:
    """The watermarks of all owned partitions, under one generation of the consumer group."""

    def __init__(self) -> None:
        self.generation = -1
        self._partitions: dict[TP, PartitionWatermark] = {}
        self._committed: dict[TP, int] = {}
        self._unstored: set[TP] = set()

    def restart(
        self,
        generation: int,
        starts: Mapping[TP, int],
        unstored: Collection[TP] = (),
        inherited: Mapping[TP, DoneAhead] = NO_INHERITANCE,
    ) -> None:
        """Own exactly these partitions from these offsets on; what an older generation acknowledges means nothing.

        The group has no offset of the `unstored` ones, so where they start is to be committed as well: of a partition
        that was never committed nobody could find out later what retention took unread. `inherited` is what was done
        beyond the starts.
        """
        self.generation = generation
        self._partitions = {tp: PartitionWatermark(tp, start, inherited.get(tp)) for tp, start in starts.items()}
        self._committed = dict(starts)
        self._unstored = set(unstored)

    def restart_partition(self, tp: TP, start: int) -> None:
        """One partition's log began anew at `start`, perhaps below what is committed."""
        self._partitions[tp] = PartitionWatermark(tp, start)
        self._committed[tp] = start
        self._unstored.add(tp)

    def of(self, tp: TP) -> PartitionWatermark:
        """The live watermark of an owned partition."""
        return self._partitions[tp]

    def is_live(self, watermark: PartitionWatermark) -> bool:
        """Whether the watermark still counts: its partition was not taken away or begun anew since."""
        return self._partitions.get(watermark.tp) is watermark

    def committable(self) -> dict[TP, int]:
        """Offsets (next to read) that are done and not yet committed."""
        committed = self._committed
        return {
            tp: watermark.next_offset
            for tp, watermark in self._partitions.items()
            if watermark.next_offset > committed[tp] or tp in self._unstored
        }

    def done_ahead(self) -> dict[TP, DoneAhead]:
        """What is done beyond the watermarks, of the partitions that have any."""
        ahead = {tp: watermark.done_ahead() for tp, watermark in self._partitions.items()}
        return {tp: one for tp, one in ahead.items() if one is not None}

    def next_offset(self, tp: TP) -> int:
        """The watermark of an owned partition."""
        return self._partitions[tp].next_offset

    @property
    def partitions(self) -> Collection[TP]:
        """The owned ones."""
        return self._partitions.keys()

    @property
    def first(self) -> TP | None:
        """The lowest partition, None without any."""
        return min(self._partitions, default=None)

    def committed(self, generation: int, offsets: Mapping[TP, int]) -> None:
        """The broker stored `offsets` for `generation`.

        One beyond the watermark is of the log from before, which began anew meanwhile: it must not stay the group's.
        """
        if generation == self.generation:
            for tp, offset in offsets.items():
                if tp in self._committed and offset <= self._partitions[tp].next_offset:
                    self._committed[tp] = max(offset, self._committed[tp])
                    self._unstored.discard(tp)

    @property
    def unfinished(self) -> int:
        """Chunks that were delivered and are not done, over all partitions."""
        return sum(watermark.unfinished for watermark in self._partitions.values())
