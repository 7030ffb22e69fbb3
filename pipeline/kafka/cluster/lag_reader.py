"""Reads how far each consumer group is behind, without touching it: the probe joins no group and commits nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from pipeline.errors import ConfigurationError, TopicError
from pipeline.kafka.closing import close
from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.cluster.lag import (
    ConsumedTopic,
    GroupLag,
    PartitionLag,
    aged,
    first_waiting,
    partition_lag,
    with_losses,
)
from pipeline.kafka.cluster.losses import ACKNOWLEDGED, Loss, ledger_of, read_loss
from pipeline.kafka.cluster.namesakes import namesakes
from pipeline.kafka.reach import explaining
from pipeline.kafka.readers import log_ends, new_reader
from pipeline.kafka.records import time_ms
from pipeline.kafka.requests import PATIENCE_S
from pipeline.settings import Settings

ANSWER_WITHIN_MS = 5_000
"""For a partition without a leader; the others have answered by then, and it becomes unknown."""

FIRST_RECORDS_WITHIN_S = 5.0
"""For the first record of every partition together: 18 ms for four of them on a quiet broker."""

POLL_MS = 200

LEDGER_UNKNOWN = "what was lost before is unknown (may this user DESCRIBE the group {group}?)"
MOST_NAMESAKES = 4


def flows_of(settings: Settings) -> tuple[ConsumedTopic, ConsumedTopic]:
    """The two groups of this pipeline."""
    return (
        ConsumedTopic(settings.transform_group, settings.webhooks_topic),
        ConsumedTopic(settings.sink_group, settings.operations_topic),
    )


async def read_lag(settings: Settings, flows: Sequence[ConsumedTopic] | None = None) -> list[PartitionLag]:
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
    async with open_admin(settings, patience_s=patience_s) as admin, _probe(settings) as consumer:
        yield LagReader(settings, admin, consumer)


@asynccontextmanager
async def _probe(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = new_reader(
        settings,
        # The broker still sends one whole batch, and then nothing that nobody wants.
        max_partition_fetch_bytes=1,
        fetch_max_bytes=1,
        request_timeout_ms=ANSWER_WITHIN_MS,
        **options,
    )
    try:
        with explaining(settings):
            await consumer.start()
        yield consumer
    finally:
        await close(consumer)


class LagReader:
    """Reads the lag again and again over the same connections; made by `open_lag_reader`.

    Args:
        settings: how to reach the brokers once more, where a transaction is open.
        admin: reads what is committed.
        consumer: reads as the groups do.
    """

    def __init__(self, settings: Settings, admin: Admin, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._admin = admin
        self._consumer = consumer

    async def read(self, flows: Sequence[ConsumedTopic]) -> list[GroupLag]:
        """One reading.

        Raises:
            TopicError: a topic does not exist.
        """
        counts = await self._admin.partitions(flow.topic for flow in flows)
        missing = sorted({flow.topic for flow in flows} - set(counts))
        if missing:
            absent = ", ".join(missing)
            text = f"topic {absent} does not exist (or this user may not see it): see `dodo-cio topics plan`"
            if meant := namesakes(missing, await self._admin.names()):
                text += (
                    f". There is {', '.join(meant[:MOST_NAMESAKES])}: if that is meant, set PIPELINE_WEBHOOKS_TOPIC, "
                    "PIPELINE_OPERATIONS_TOPIC, PIPELINE_TRANSFORM_GROUP and PIPELINE_SINK_GROUP as the stages do"
                )
            raise TopicError(text)
        return [await self._group(flow, counts[flow.topic][0]) for flow in flows]

    async def _group(self, flow: ConsumedTopic, count: int) -> GroupLag:
        partitions = [TopicPartition(flow.topic, number) for number in range(count)]
        try:
            committed = await self._admin.committed(flow.group, partitions)
            state = await self._admin.group_state(flow.group)
        except ConfigurationError as error:
            rows = [PartitionLag(flow.group, tp.topic, tp.partition, note=str(error)) for tp in partitions]
            return GroupLag(flow.group, flow.topic, None, None, tuple(rows))
        losses, note = await self._losses(flow.group, partitions)
        ends = await asyncio.gather(*(self._ends(tp) for tp in partitions))
        rows = [
            partition_lag(flow.group, tp, committed, bounds and bounds[:2], bounds and bounds[2])
            for tp, bounds in zip(partitions, ends, strict=True)
        ]
        timestamps_ms, only_markers = await self._first_records(rows)
        now_ms = time.time() * 1000
        complete = tuple(
            with_losses(aged(row, timestamps_ms, only_markers, now_ms), losses.get(row.partition), now_ms)
            for row in rows
        )
        return GroupLag(flow.group, flow.topic, state.state, state.members, complete, note)

    async def _losses(self, group: str, partitions: Sequence[TopicPartition]) -> tuple[dict[int, Loss], str | None]:
        """What is written down of losses, by partition; and the note to show when that cannot be read."""
        try:
            found = await self._admin.noted(ledger_of(group), partitions)
        except ConfigurationError:
            return {}, LEDGER_UNKNOWN.format(group=ledger_of(group))
        return {tp.partition: read_loss(*one) for tp, one in found.items() if one is not None}, None

    async def acknowledge(self, groups: Sequence[GroupLag]) -> int:
        """Let nobody hear any more of what `groups` show as lost; how many records that are.

        Raises:
            ConfigurationError: this user may not write the ledger of a group's losses.
        """
        count = 0
        for group in groups:
            known = {
                TopicPartition(row.topic, row.partition): (max(row.committed or 0, row.start or 0), ACKNOWLEDGED)
                for row in group.partitions
                if row.lost
            }
            if known:
                await self._admin.note(ledger_of(group.group), known)
                count += group.lost
        return count

    async def _ends(self, tp: TopicPartition) -> tuple[int, int, int] | None:
        """(start, end, end of what can be read) of one partition, alone: one without a leader hides no other."""
        try:
            starts, ends, stable = await asyncio.gather(
                self._consumer.beginning_offsets([tp]), log_ends(self._consumer, [tp]), self._consumer.end_offsets([tp])
            )
        except KafkaError:
            return None
        return starts[tp], max(ends[tp], stable[tp]), stable[tp]

    async def _first_records(self, rows: Sequence[PartitionLag]) -> tuple[dict[int, int | None], set[int]]:
        """By partition, the timestamp in ms of the first record that waits; and those where none does.

        Where nothing waits but what an open transaction holds back, it is the time of that.
        """
        spans = {
            TopicPartition(row.topic, row.partition): range(first_waiting(row), (row.end or 0) - (row.held or 0))
            for row in rows
            if row.records
        }
        timestamps_ms, nothing = await _first_of(self._consumer, spans)
        held = {
            TopicPartition(row.topic, row.partition): range((row.end or 0) - row.held, row.end or 0)
            for row in rows
            if row.held and row.partition in nothing
        }
        if held:
            # Since when they wait can only be seen by who reads what is not committed; nothing else is made of it.
            async with _probe(self._settings, isolation_level="read_uncommitted") as log:
                timestamps_ms |= (await _first_of(log, held))[0]
        return timestamps_ms, nothing


async def _first_of(
    consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, range]
) -> tuple[dict[int, int | None], set[int]]:
    """By partition, the timestamp in ms of the first record within its span, None for an odd one; who has none."""
    timestamps_ms: dict[int, int | None] = {}
    nothing = {tp.partition for tp, span in spans.items() if not span}
    waiting = {tp: span for tp, span in spans.items() if span}
    if not waiting:
        return timestamps_ms, nothing
    consumer.assign(list(waiting))
    for tp, span in waiting.items():
        consumer.seek(tp, span.start)
    deadline = asyncio.get_running_loop().time() + FIRST_RECORDS_WITHIN_S
    while waiting and asyncio.get_running_loop().time() < deadline:
        try:
            batches = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
            for tp in list(waiting):
                if batches.get(tp):
                    timestamps_ms[tp.partition] = time_ms(batches[tp][0])
                elif await consumer.position(tp) >= waiting[tp].stop:
                    nothing.add(tp.partition)
                else:
                    continue
                del waiting[tp]
                consumer.pause(tp)
        except KafkaError:
            break  # what was not read stays unknown
    # Paused rather than unsubscribed: aiokafka's fetcher can miss that it is stopped while it ends its fetches.
    consumer.pause(*waiting)
    return timestamps_ms, nothing
