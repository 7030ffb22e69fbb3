"""What there is in the end, counted in the topics and in the sandbox with clients of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests.admin import committed
from tests.chaos.replicas import SandboxView
from tests.chaos.truth import DeadLetter, Outcome, event_of, profile_of

QUIET_S = 120.0
"""Without any progress for so long, what is missing will not come."""

POLL_S = 0.1


async def caught_up(settings: Settings, partitions: int) -> None:
    """Wait until both groups have committed the end of every partition that they read.

    Raises:
        AssertionError: nothing moved any more, and a group is behind.
    """
    await caught_up_in(settings, settings.transform_group, settings.webhooks_topic, partitions)
    await caught_up_in(settings, settings.sink_group, settings.operations_topic, partitions)


async def caught_up_in(settings: Settings, group: str, topic: str, partitions: int) -> None:
    """Wait until one group has committed the end of every partition of one topic.

    Raises:
        AssertionError: as `caught_up`.
    """
    last, moved = None, time.monotonic()
    async with open_admin(settings) as admin:
        while True:
            ends = await _ends(settings, topic, partitions)
            reached = await committed(admin, group, topic)
            lag = {number: end - reached.get(number, 0) for number, end in ends.items()}
            if not any(lag.values()):
                return
            if (ends, reached) != last:
                last, moved = (ends, reached), time.monotonic()
            assert time.monotonic() - moved < QUIET_S, f"{group} is behind in {topic}: {lag} of {ends}"
            await asyncio.sleep(POLL_S)


async def look(settings: Settings, view: SandboxView) -> Outcome:
    """Everything that can be seen now."""
    stats = await view.stats()
    seen = Outcome(
        [event_of(one) for one in await view.all("events")],
        {one["id"]: profile_of(one) for one in await view.all("people")},
        refused=stats["refused"],
    )
    for key, webhook_id in await _records(settings, settings.webhooks_topic, "webhook-id"):
        seen.stored.append((key, webhook_id))
    for _, *told in await _records(settings, settings.dead_letters_topic, "dlq-stage", "dlq-class", "webhook-id"):
        stage, class_, webhook_id = told
        letter: DeadLetter = stage, class_, webhook_id
        seen.dead_letters.add(letter)
    return seen


async def _ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    async with _reader(settings) as consumer:
        found = await consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
    return {tp.partition: end for tp, end in found.items()}


async def _records(settings: Settings, topic: str, *headers: str) -> list[tuple[str, ...]]:
    """Key and headers of every record, in the order of time; those of a partition, which the broker dates, in theirs.

    The values stay where they are: those of a long season would fill the memory.
    """
    async with _reader(settings, topic) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        found: list[tuple[int, tuple[str, ...]]] = []
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.timestamp, _told(record, headers)) for record in records]
        return [told for _, told in sorted(found, key=itemgetter(0))]  # stable


def _told(record: ConsumerRecord[bytes, bytes], headers: Iterable[str]) -> tuple[str, ...]:
    have: Mapping[str, bytes] = dict(record.headers)
    return (record.key or b"").decode(), *(have[name].decode() for name in headers)


@asynccontextmanager
async def _reader(settings: Settings, *topics: str) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
