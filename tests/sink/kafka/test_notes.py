"""What sinks tell each other beside their offsets, on a real Apache Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_identity import unmarked
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.sink.statements import Statement, parse

pytestmark = pytest.mark.kafka

LIMIT = 20.0


async def busy_and_idle(stage: Any, made: Any, requests: int) -> tuple[Any, Any]:
    """Two sinks of which the first one returned has so many requests to send."""
    workers = [stage.start(), stage.start()]
    for worker in workers:
        await worker.answers("/ready", "1 partitions")
    person = next(name for name in (f"cus_{n}" for n in range(40)) if partition_of(name.encode(), 2) == 0)
    await stage.produce([made.identify_record(person) for _ in range(requests)])  # each bars the next one
    async with asyncio.timeout(300):
        while True:
            for busy, idle in (workers, workers[::-1]):
                if await busy.series("dodo_cio_records_undelivered"):
                    return busy, idle
            await asyncio.sleep(0.05)


async def notes(stage: Any) -> dict[int, tuple[int, Statement | None]]:
    """Offset and statement of each partition, as any client of the group may read them."""
    group, topic = stage.settings.sink_group, stage.settings.operations_topic
    async with open_admin(stage.settings) as admin:
        answer = await admin._of_group(group, OffsetFetchRequest(group, [(topic, [0, 1])]))
    return {
        partition: (offset, parse(unmarked(metadata)[1]))
        for _, partitions in answer.topics
        for partition, offset, metadata, _ in partitions
    }


async def test_notes_move_no_offset(make_stage: Any, made: Any) -> None:
    """A sink that has read nothing lends beside the start of its partition, and a busy one asks beside what is done."""
    stage = await make_stage(partitions=2, customerio_requests_per_second=LIMIT)
    requests = 200
    busy, _ = await busy_and_idle(stage, made, requests)
    await busy.shows("dodo_cio_request_budget_borrowed_per_second", bool)
    found = await notes(stage)
    asks, lends = found[0][1], found[1][1]
    assert asks is not None
    assert lends is not None
    assert asks.generation == lends.generation
    assert asks.ticket is not None
    assert set(lends.grants) == {asks.member}
    assert found[1][0] == 0
    assert 0 <= found[0][0] <= requests
    await stage.done()
    async with open_admin(stage.settings) as admin:
        tps = [TopicPartition(stage.settings.operations_topic, number) for number in range(2)]
        assert await admin.committed(stage.settings.sink_group, tps) == {tps[0]: requests, tps[1]: 0}


async def test_brokers_that_keep_no_notes(make_stage: Any, made: Any, tmp_path: Path) -> None:
    """Offsets are committed without them, each sink keeps to its share, and one line says why."""
    properties = {"offset.metadata.max.bytes": "10"}
    with LocalKafka.start(tmp_path / "kafka", heap_mb=256, properties=properties) as broker:
        stage = await make_stage(
            partitions=2, customerio_requests_per_second=LIMIT, kafka_bootstrap_servers=broker.bootstrap_servers
        )
        busy, idle = await busy_and_idle(stage, made, 60)
        await busy.says("offset.metadata.max.bytes")
        await stage.done()
        assert await busy.series("dodo_cio_request_budget_leases_total") == 0
        assert await idle.series("dodo_cio_request_budget_leases_total") == 0
        assert busy.text.count("offset.metadata.max.bytes") == 1
        for worker in (busy, idle):
            assert await worker.stop() == 0
