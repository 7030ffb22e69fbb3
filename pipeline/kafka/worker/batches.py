"""The batch that an agent receives: records of one partition from one poll, with the means to acknowledge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

from faust.types import TP

from pipeline.kafka.records import Record

Acknowledge = Callable[[int], None]
DoneBits = Callable[[], int]
More = Callable[[], None]
Report = Callable[[DoneBits], More]


def _to_nobody(_: DoneBits) -> More:
    return lambda: None


class RecordBatch:
    """Consecutive records of one partition.

    `generation` is the consumer group's when they were delivered: work for an older one belongs to another worker.
    Offsets may be missing inside (compaction, transaction markers). Never empty. `behind` is how many offsets the
    partition had beyond it when it was delivered, by the broker's last answer.
    """

    __slots__ = ("_acknowledge", "_report", "behind", "generation", "records", "tp")

    def __init__(
        self,
        tp: TP,
        records: Sequence[Record],
        generation: int,
        acknowledge: Acknowledge,
        behind: int = 0,
        *,
        report: Report = _to_nobody,
    ) -> None:
        self.tp = tp
        self.records = records
        self.generation = generation
        self.behind = behind
        self._acknowledge = acknowledge
        self._report = report

    @classmethod
    def of(
        cls,
        topic: str,
        partition: int,
        records: Sequence[Record],
        generation: int = 1,
        on_ack: Acknowledge = lambda _: None,
        *,
        behind: int = 0,
        report: Report = _to_nobody,
    ) -> Self:
        """A batch outside of the transport; `on_ack` receives every acknowledged offset."""
        return cls(TP(topic, partition), records, generation, on_ack, behind, report=report)

    @property
    def topic(self) -> str:
        """Where the records lie."""
        return self.tp.topic

    @property
    def partition(self) -> int:
        """Where in the topic."""
        return self.tp.partition

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset

    @property
    def acknowledge(self) -> Acknowledge:
        """`ack` without the batch: whoever keeps it does not keep the records."""
        return self._acknowledge

    def ack(self, through: int) -> None:
        """Every record of this batch up to offset `through` has had all its effects durably.

        Call it on the event loop, as soon as that is true (from a completion callback, not from the agent's next
        turn, or the last batch before a pause waits for traffic). Repeating and going back have no effect, and
        neither has a batch whose generation is over.

        Raises:
            ContractViolationError: an earlier batch of the partition is not done. The worker ends as well, and
                Kafka redelivers.
        """
        self._acknowledge(through)

    def report(self, done_bits: DoneBits) -> More:
        """Let the commits carry which records are done although earlier ones may not be: see `done_ahead`.

        `done_bits` is asked at every commit until the batch is acknowledged whole; bit n stands for the n-th offset
        from the batch's first. Call what is returned when more are done. A bit means what `ack` means, of one record:
        the partition's next owner never sees it.
        """
        return self._report(done_bits)

    def done(self) -> None:
        """Acknowledge the whole batch."""
        self._acknowledge(self.records[-1].offset)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return (
            f"<RecordBatch {self.topic}/{self.partition}/{self.first_offset}-{self.last_offset} of {self.generation}>"
        )
