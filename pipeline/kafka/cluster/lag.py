"""How far a consumer group is behind, in records and in seconds: the figures of a partition and of a group. Pure.

Seconds are the age of the first record that is not committed. What is not known is None, never 0.

What waits is counted to the end of the log, the records of an open transaction included: they are there, and their
customers wait for them, whoever holds them back. That nobody can read them yet stands beside the number (`held`). What
an aborted transaction left is none, like its marker: nobody waits for it. `lag_reader` reads what these are made of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.losses import Loss

NEVER_COMMITTED = "never committed: counted from the first record that is still there"
BEYOND_THE_END = "the committed offset is beyond the end: was the topic created anew?"
NO_OFFSET_TOLD = "the broker did not tell the committed offset (may this user DESCRIBE the group and the topic?)"
NO_ENDS_TOLD = "the partition's offsets could not be read (no leader, or no permission)"
NO_RECORD_READ = "the first uncommitted record could not be read in time, so its age is unknown"
NO_TIME = "the first uncommitted record has no time that could be true, so its age is unknown"

AHEAD_MS = 24 * 3_600_000
"""A producer's clock may be ahead; a record of the day after tomorrow was written by none."""


@dataclass(frozen=True, slots=True)
class ConsumedTopic:
    """A consumer group and the topic that it reads."""

    group: str
    topic: str


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. `committed` is the next offset to process, `start` and `end` bound what the broker holds.

    `records` wait; the first of them is `seconds` old (0 when none waits). `held` of them cannot be read before a
    transaction ends that is open. `lost` were deleted by the topic's retention before they were processed: those that
    the group has yet to pass over, and those that it has within the last day unless they were acknowledged
    (`losses`). None: unknown, and `note` is why.
    """

    group: str
    topic: str
    partition: int
    committed: int | None = None
    start: int | None = None
    end: int | None = None
    records: int | None = None
    seconds: float | None = None
    lost: int | None = None
    note: str | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group on one topic; `state` and `members` by its coordinator, None without an answer."""

    group: str
    topic: str
    state: str | None
    members: int | None
    partitions: tuple[PartitionLag, ...]
    note: str | None = None

    @property
    def records(self) -> int | None:
        """Records that wait in all partitions; None when one of them is unknown."""
        counts = [partition.records for partition in self.partitions if partition.records is not None]
        return sum(counts) if len(counts) == len(self.partitions) else None

    @property
    def seconds(self) -> float | None:
        """Age of the oldest record that waits; None when one partition is unknown."""
        ages = [partition.seconds for partition in self.partitions if partition.seconds is not None]
        return max(ages, default=0.0) if len(ages) == len(self.partitions) else None

    @property
    def held(self) -> int:
        """Records that cannot be read before an open transaction ends, as far as is known."""
        return sum(partition.held or 0 for partition in self.partitions)

    @property
    def lost(self) -> int:
        """Records deleted by retention before they were processed, as far as is known."""
        return sum(partition.lost or 0 for partition in self.partitions)


def first_waiting(row: PartitionLag) -> int:
    """The offset of the first record that waits."""
    return max(row.committed or 0, row.start or 0)


def partition_lag(
    group: str,
    tp: TopicPartition,
    committed: Mapping[TopicPartition, int | None],
    bounds: tuple[int, int] | None,
    stable: int | None = None,
) -> PartitionLag:
    """The row of one partition, its age still unknown unless nothing waits.

    `committed` lacks partitions for which the broker did not answer, and holds None for those never committed. `stable`
    is where an open transaction begins; None, or the end, when none is open.
    """
    row = PartitionLag(group, tp.topic, tp.partition)
    if tp not in committed:
        return replace(row, note=NO_OFFSET_TOLD)
    offset = committed[tp]
    if bounds is None:
        return replace(row, committed=offset, note=NO_ENDS_TOLD)
    start, end = bounds
    row = replace(row, committed=offset, start=start, end=end)
    if offset is not None and offset > end:
        return replace(row, note=BEYOND_THE_END)
    notes = []
    begin, lost = start, 0
    if offset is not None:
        begin, lost = max(offset, start), max(0, start - offset)
    records = end - begin
    if offset is None and records:
        notes.append(NEVER_COMMITTED)
    if lost:
        notes.append(_lost_note(lost))
    held = end - max(begin, end if stable is None else stable)
    if held:
        notes.append(
            f"{held} of them cannot be read before a transaction ends that is open since offset {stable} "
            "(one that hangs: kafka-transactions.sh find-hanging)"
        )
    return replace(
        row,
        records=records,
        seconds=None if records else 0.0,
        lost=lost,
        held=held,
        note="; ".join(notes) or None,
    )


def with_losses(row: PartitionLag, known: Loss | None, now_ms: float) -> PartitionLag:
    """`row` with what the ledger of losses has of its partition.

    An entry beyond the end is of a topic that was there before this one.
    """
    if known is None or row.lost is None or row.end is None or known.stop > row.end:
        return row
    # What the group has yet to pass over may be written down already.
    lost = max(0, (row.start or 0) - max(row.committed or 0, known.stop)) if row.lost else 0
    note = _lost_note(lost) if lost else ""
    if known.is_shown(now_ms):
        lost += known.records
        at = dt.datetime.fromtimestamp(known.at_ms / 1000, dt.UTC).isoformat(timespec="seconds")
        note = f"{lost} records were deleted before they were processed, the last ones seen at {at}"
    notes = [one for one in (row.note or "").split("; ") if one and one != _lost_note(row.lost)]
    return replace(row, lost=lost, note="; ".join(filter(None, [*notes, note])) or None)


def _lost_note(lost: int) -> str:
    return f"{lost} records were deleted by the topic's retention before they were processed"


def aged(
    row: PartitionLag, timestamps_ms: Mapping[int, int | None], only_markers: Collection[int], now_ms: float
) -> PartitionLag:
    """`row` with the age of its first waiting record, by partition in `timestamps_ms`.

    `only_markers` are partitions where nothing that could be read waits: offsets of transaction markers, of aborted
    transactions, and of records that compaction removed, are no records. What is held back still waits.
    """
    if not row.records:
        return row
    if row.partition in only_markers:
        row = replace(row, records=row.held or 0)
        if not row.records:
            return replace(row, seconds=0.0)
    if row.partition not in timestamps_ms:
        return _noted(row, NO_RECORD_READ)
    written_ms = timestamps_ms[row.partition]
    if written_ms is None or written_ms > now_ms + AHEAD_MS:
        return _noted(row, NO_TIME)
    return replace(row, seconds=max(0.0, (now_ms - written_ms) / 1000))


def _noted(row: PartitionLag, note: str) -> PartitionLag:
    return replace(row, note="; ".join(filter(None, [row.note, note])))
