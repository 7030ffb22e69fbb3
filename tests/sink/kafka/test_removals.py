"""Offsets of the sink that are set back bring nobody back who was forgotten since."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.customerio.operations import removal
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.records import BARRIER, OutRecord
from pipeline.settings import Settings

pytestmark = pytest.mark.kafka

PEOPLE = [f"cus_{number}" for number in range(6)]
GONE, SUPPRESSED, BACK = PEOPLE[0], PEOPLE[1], PEOPLE[2]


def removal_record(person: str, action: Any) -> OutRecord:
    """As the transform writes it for `dodo-cio forget`."""
    return OutRecord(person.encode(), removal(person, action), ((BARRIER, b"1"), ("op-id", b"forget:delete")))


async def set_back(settings: Settings, topic: str | None = None) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets --to-earliest` does."""
    topic = topic or settings.operations_topic
    async with open_admin(settings) as admin:
        count = (await admin.partitions([topic]))[topic][0]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.sink_group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(tps)
        await consumer.commit(dict.fromkeys(tps, 0))
    finally:
        await consumer.stop()


@pytest.mark.parametrize("how", ["set back", "another group"])
async def test_offsets_that_are_set_back(make_stage: Any, made: Any, how: str) -> None:
    """Of the forgotten nothing but the request reaches Customer.io again; of who came back, what came later; of all
    others everything."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=3)
    first = [
        record for n, who in enumerate(PEOPLE) for record in (made.identify_record(who), made.event_record(who, n))
    ]
    requests = [removal_record(GONE, "delete"), removal_record(SUPPRESSED, "suppress"), removal_record(BACK, "delete")]
    later = [made.identify_record(BACK), made.event_record(BACK, 100)]
    worker = stage.start()
    await worker.ready()
    for records in (first, [*requests, *later]):
        await stage.produce(records)
        await stage.done()
    assert await worker.stop() == 0
    sent_first = len([one for batch in stage.batches for one in batch])
    if how == "set back":
        await set_back(stage.settings)
        worker = stage.start()
        await stage.done()
    else:
        worker = stage.start(PIPELINE_SINK_GROUP=f"{stage.settings.sink_group}-b")
        await worker.shows("dodo_cio_operations_accepted_total", lambda count: count >= 6 + 3 + 2)
    again = [one for batch in stage.batches for one in batch][sent_first:]
    told: dict[str, list[str]] = {}
    for one in again:
        told.setdefault(one["identifiers"]["id"], []).append(one["action"])
    assert told == {
        GONE: ["delete"],
        SUPPRESSED: ["suppress"],
        BACK: ["delete", "identify", "event"],
        **{who: ["identify", "event"] for who in PEOPLE[3:]},
    }
    assert await worker.series("dodo_cio_operations_passed_over_total") == 6
    assert await worker.stop() == 0


async def test_a_backlog_before_a_request(make_stage: Any, made: Any) -> None:
    """What was never sent when the request came is not sent any more, and its offsets are committed all the same."""
    stage = await make_stage(partitions=1)
    await stage.produce([*(made.event_record(GONE, n) for n in range(700)), removal_record(GONE, "delete")])
    worker = stage.start()
    await stage.done()
    assert [one["action"] for batch in stage.batches for one in batch] == ["delete"]
    await stage.produce([made.identify_record(GONE)])
    await stage.done()
    assert [one["action"] for batch in stage.batches for one in batch] == ["delete", "identify"]
    assert await worker.series("dodo_cio_operations_passed_over_total") == 700
    assert await worker.stop() == 0


async def test_a_partition_without_a_leader(kafka_cluster: Any, make_stage: Any, made: Any) -> None:
    """It holds up no other partition; when it has one again, it is looked at before its first record is sent."""
    stage = await make_stage(partitions=3, kafka_bootstrap_servers=kafka_cluster.bootstrap_servers)
    await kafka_cluster.wait_until_in_sync()
    topic = f"{stage.settings.operations_topic}.alone"
    async with open_admin(stage.settings) as admin:
        await admin.create(topic, 3, 1, {})  # one replica each
    nodes = [await kafka_cluster.leader(topic, partition) for partition in range(3)]
    lost, led = 0, [partition for partition in range(3) if nodes[partition] != nodes[0]]
    assert led, nodes
    producer = AIOKafkaProducer(bootstrap_servers=stage.settings.kafka_bootstrap_servers)
    await producer.start()
    records = [(lost, made.event_record(GONE, 100)), (lost, removal_record(GONE, "delete"))]
    for partition, one in [*records, *[(number, made.event_record(f"cus_{number}", number)) for number in led]]:
        await producer.send_and_wait(topic, one.value, one.key, partition=partition, headers=list(one.headers))
    await producer.stop()
    await set_back(stage.settings, topic)
    await asyncio.to_thread(kafka_cluster.kill, nodes[lost])
    worker = stage.start(PIPELINE_OPERATIONS_TOPIC=topic)
    await worker.shows("dodo_cio_operations_accepted_total", lambda accepted: accepted >= len(led))
    assert sorted(stage.numbers) == led
    await asyncio.to_thread(kafka_cluster.restart, nodes[lost])
    await worker.shows("dodo_cio_operations_accepted_total", lambda accepted: accepted > len(led))
    assert await worker.series("dodo_cio_operations_passed_over_total") == 1
    assert sorted(stage.numbers) == led
