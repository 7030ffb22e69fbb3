"""How far each consumer group is behind, in records and in seconds, without touching it.

Seconds are the age of the first record that is not committed. What is not known is None, never 0. The probe joins no
group and commits nothing: a consumer with a group id and the default auto-commit moves an idle group's offsets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from pipeline.errors import ConfigurationError, TopicError
from pipeline.kafka.admin import Admin, open_admin
from pipeline.kafka.reach import explaining
from pipeline.kafka.requests import PATIENCE_S
from pipeline.kafka.security import client_options
from pipeline.settings import Settings

ANSWER_WITHIN_MS = 5_000
"""For a partition without a leader; the others have answered by then, and it becomes unknown."""

FIRST_RECORDS_WITHIN_S = 5.0
"""For the first record of every partition together: 18 ms for four of them on a quiet broker."""

POLL_MS = 200

STOP_WITHIN_S = 5.0
"""Fetcher.close waits for ever when its cancellation falls into the end of an earlier assignment's fetches, which
swallows it (aiokafka 0.14, `_fetch_requests_routine`); a second cancellation ends it."""

NEVER_COMMITTED = "never committed: counted from the first record that is still there"
BEYOND_THE_END = "the committed offset is beyond the end: was the topic created anew?"
NO_OFFSET_TOLD = "the broker did not tell the committed offset (may this user DESCRIBE the group and the topic?)"
NO_ENDS_TOLD = "the partition's offsets could not be read (no leader, or no permission)"
NO_RECORD_READ = "the first uncommitted record could not be read in time, so its age is unknown"


@dataclass(frozen=True, slots=True)
class Flow:
    """A consumer group and the topic that it reads."""

    group: str
    topic: str


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. `committed` is the next offset to process, `start` and `end` bound what the broker holds.

    `records` wait; the first of them is `seconds` old (0 when none waits). `lost` were deleted by the topic's
    retention before they were processed. None: unknown, and `note` says why.
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


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group on one topic; `state` and `members` as its coordinator tells, None when it does not."""

    group: str
    topic: str
    state: str | None
    members: int | None
    partitions: tuple[PartitionLag, ...]

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
    def lost(self) -> int:
        """Records deleted by retention before they were processed, as far as is known."""
        return sum(partition.lost or 0 for partition in self.partitions)


def flows_of(settings: Settings) -> tuple[Flow, Flow]:
    """The two groups of this pipeline."""
    return (
        Flow(settings.transform_group, settings.webhooks_topic),
        Flow(settings.sink_group, settings.operations_topic),
    )


async def read_lag(settings: Settings, flows: Sequence[Flow] | None = None) -> list[PartitionLag]:
    """One reading of `flows` (by default both groups of this pipeline), a row for each partition.

    Raises:
        TopicError: a topic does not exist.
        BrokerUnreachableError: no broker answered.
    """
    async with open_lag_reader(settings) as reader:
        return [row for group in await reader.read(flows or flows_of(settings)) for row in group.partitions]


@asynccontextmanager
async def open_lag_reader(settings: Settings, *, patience_s: float = PATIENCE_S) -> AsyncIterator[LagReader]:
    """A connected `LagReader`, for one reading or many; `patience_s` as in `open_admin`.

    Raises:
        BrokerUnreachableError: no broker answered, at the start or later.
    """
    async with open_admin(settings, patience_s=patience_s) as admin:
        consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # The broker still sends one whole batch, and then nothing that nobody wants.
            max_partition_fetch_bytes=1,
            fetch_max_bytes=1,
            request_timeout_ms=ANSWER_WITHIN_MS,
        )
        try:
            with explaining(settings):
                await consumer.start()
            yield LagReader(admin, consumer)
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), STOP_WITHIN_S)


class LagReader:
    """Reads the lag again and again over the same connections; made by `open_lag_reader`."""

    def __init__(self, admin: Admin, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def read(self, flows: Sequence[Flow]) -> list[GroupLag]:
        """One reading.

        Raises:
            TopicError: a topic does not exist.
        """
        counts = await self._admin.partitions(flow.topic for flow in flows)
        missing = sorted({flow.topic for flow in flows} - set(counts))
        if missing:
            raise TopicError(
                f"topic {', '.join(missing)} does not exist (or this user may not see it): see `dodo-cio topics plan`"
            )
        return [await self._group(flow, counts[flow.topic][0]) for flow in flows]

    async def _group(self, flow: Flow, count: int) -> GroupLag:
        partitions = [TopicPartition(flow.topic, number) for number in range(count)]
        try:
            committed = await self._admin.committed(flow.group, partitions)
            state = await self._admin.group_state(flow.group)
        except ConfigurationError as error:
            rows = [PartitionLag(flow.group, tp.topic, tp.partition, note=str(error)) for tp in partitions]
            return GroupLag(flow.group, flow.topic, None, None, tuple(rows))
        ends = await asyncio.gather(*(self._ends(tp) for tp in partitions))
        rows = [partition_lag(flow.group, tp, committed, bounds) for tp, bounds in zip(partitions, ends, strict=True)]
        timestamps_ms, only_markers = await self._first_records([row for row in rows if row.records])
        now_ms = time.time() * 1000
        complete = tuple(aged(row, timestamps_ms, only_markers, now_ms) for row in rows)
        return GroupLag(flow.group, flow.topic, state.state, state.members, complete)

    async def _ends(self, tp: TopicPartition) -> tuple[int, int] | None:
        """(start, end) of one partition, alone, so that one without a leader hides no other."""
        try:
            starts, ends = await asyncio.gather(
                self._consumer.beginning_offsets([tp]), self._consumer.end_offsets([tp])
            )
        except KafkaError:
            return None
        return starts[tp], ends[tp]

    async def _first_records(self, rows: Sequence[PartitionLag]) -> tuple[dict[int, int], set[int]]:
        """By partition, the timestamp in ms of the first record that waits; and those with only markers there."""
        waiting = {TopicPartition(row.topic, row.partition): row for row in rows}
        timestamps_ms: dict[int, int] = {}
        only_markers: set[int] = set()
        if not waiting:
            return timestamps_ms, only_markers
        self._consumer.assign(list(waiting))
        for tp, row in waiting.items():
            self._consumer.seek(tp, first_waiting(row))
        deadline = asyncio.get_running_loop().time() + FIRST_RECORDS_WITHIN_S
        while waiting and asyncio.get_running_loop().time() < deadline:
            try:
                batches = await self._consumer.getmany(*waiting, timeout_ms=POLL_MS)
                for tp in list(waiting):
                    if batches.get(tp):
                        timestamps_ms[tp.partition] = batches[tp][0].timestamp
                    elif await self._consumer.position(tp) >= (waiting[tp].end or 0):
                        only_markers.add(tp.partition)
                    else:
                        continue
                    del waiting[tp]
                    self._consumer.pause(tp)
            except KafkaError:
                break  # what was not read stays unknown
        # Paused rather than unsubscribed: aiokafka's fetcher can miss that it is stopped while it ends its fetches.
        self._consumer.pause(*waiting)
        return timestamps_ms, only_markers


def first_waiting(row: PartitionLag) -> int:
    """The offset of the first record that waits."""
    return max(row.committed or 0, row.start or 0)


def partition_lag(
    group: str, tp: TopicPartition, committed: Mapping[TopicPartition, int | None], bounds: tuple[int, int] | None
) -> PartitionLag:
    """The row of one partition, its age still unknown unless nothing waits.

    `committed` lacks partitions that the broker did not tell, and holds None for those never committed.
    """
    row = PartitionLag(group, tp.topic, tp.partition)
    if tp not in committed:
        return replace(row, note=NO_OFFSET_TOLD)
    offset = committed[tp]
    if bounds is None:
        return replace(row, committed=offset, note=NO_ENDS_TOLD)
    start, end = bounds
    row = replace(row, committed=offset, start=start, end=end)
    if offset is None:
        records = end - start
        note = NEVER_COMMITTED if records else None
        return replace(row, records=records, seconds=None if records else 0.0, lost=0, note=note)
    if offset > end:
        return replace(row, note=BEYOND_THE_END)
    records, lost = end - max(offset, start), max(0, start - offset)
    note = f"{lost} records were deleted by the topic's retention before they were processed" if lost else None
    return replace(row, records=records, seconds=None if records else 0.0, lost=lost, note=note)


def aged(
    row: PartitionLag, timestamps_ms: Mapping[int, int], only_markers: Collection[int], now_ms: float
) -> PartitionLag:
    """`row` with the age of its first waiting record, by partition in `timestamps_ms`.

    Offsets of transaction markers, and of records that compaction removed, are no records: nothing waits there.
    """
    if not row.records:
        return row
    if row.partition in only_markers:
        return replace(row, records=0, seconds=0.0)
    if row.partition not in timestamps_ms:
        return replace(row, note="; ".join(filter(None, [row.note, NO_RECORD_READ])))
    return replace(row, seconds=max(0.0, (now_ms - timestamps_ms[row.partition]) / 1000))
