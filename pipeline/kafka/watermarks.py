"""How far each partition is done: the contiguous watermark that may be committed.

Pure. Committing anything but the contiguous prefix loses records at the next crash (faust-streaming #606: an
acknowledged tail was committed over an unfinished head), so a watermark never passes a chunk that was delivered and
not acknowledged; an attempt to do so is a bug and ends the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from faust.types import TP

from pipeline.errors import ContractViolationError


class PartitionWatermark:
    """The next offset to commit of one partition, for as long as one assignment of it lasts."""

    __slots__ = ("_chunks", "_passed", "next_offset", "tp")

    def __init__(self, tp: TP, start: int) -> None:
        self.tp = tp
        self.next_offset = start
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

    def withdraw(self) -> None:
        """The chunk delivered last did not reach the agent after all."""
        self._chunks.pop()

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
            self._over_what_is_nothing()
        return True


class Watermarks:
    """The watermarks of all owned partitions, under one generation of the consumer group."""

    def __init__(self) -> None:
        self.generation = -1
        self._partitions: dict[TP, PartitionWatermark] = {}
        self._committed: dict[TP, int] = {}
        self._unstored: set[TP] = set()

    def restart(self, generation: int, starts: Mapping[TP, int], unstored: Collection[TP] = ()) -> None:
        """Own exactly these partitions from these offsets on; what an older generation acknowledges means nothing.

        The group's offset of the `unstored` ones does not say where they start, so that is to be committed as well: of
        a partition that was never committed nobody could tell later what retention took unread.
        """
        self.generation = generation
        self._partitions = {tp: PartitionWatermark(tp, start) for tp, start in starts.items()}
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

    @property
    def first(self) -> tuple[TP, int] | None:
        """The lowest partition and its committed offset, None without partitions.

        Where nothing was committed yet it is where the partition began when it was assigned, which is the same.
        """
        if not self._partitions:
            return None
        tp = min(self._partitions)
        return tp, self._committed[tp]

    def committed(self, generation: int, offsets: Mapping[TP, int]) -> None:
        """The broker stored `offsets` for `generation`."""
        if generation == self.generation:
            for tp, offset in offsets.items():
                if tp in self._committed:
                    self._committed[tp] = max(offset, self._committed[tp])
                    self._unstored.discard(tp)

    @property
    def unfinished(self) -> int:
        """Chunks that were delivered and are not done, over all partitions."""
        return sum(watermark.unfinished for watermark in self._partitions.values())
