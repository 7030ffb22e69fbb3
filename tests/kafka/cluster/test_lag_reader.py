"""The lag of groups is read on Kafka without touching them."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import flows_of, open_lag_reader, read_lag
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.admin import admin_client
from tests.kafka.record_bytes import Wire, batch, put
from tests.kafka.shared import SharedKafka


async def topic_with(
    kafka: SharedKafka, values: int, *, partitions: int = 1, timestamp_ms: int | None = None
) -> ConsumedTopic:
    """A topic of its own with so many records in each partition, and a group of its own."""
    flow = ConsumedTopic(f"g-{uuid.uuid4().hex[:8]}", f"t-{uuid.uuid4().hex[:8]}")
    async with open_admin(Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)) as admin:
        await admin.create(flow.topic, partitions, -1, {})
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        sent = [
            await producer.send(flow.topic, b"v", partition=partition, timestamp_ms=timestamp_ms)
            for partition in range(partitions)
            for _ in range(values)
        ]
        await asyncio.gather(*sent)
    return flow


async def commit(kafka: SharedKafka, flow: ConsumedTopic, offsets: dict[int, int]) -> None:
    """Commit as the group does."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=flow.group, enable_auto_commit=False
    ) as consumer:
        partitions = {TopicPartition(flow.topic, partition): offset for partition, offset in offsets.items()}
        consumer.assign(list(partitions))
        await consumer.commit(partitions)


@pytest.mark.kafka
async def test_lag_on_kafka(kafka: SharedKafka) -> None:
    """Committed at 3 of 5, at the end, and never: 2, 0 and 5 records, as old as the first of them."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 5, partitions=3, timestamp_ms=int(time.time() * 1000) - 60_000)
    await commit(kafka, flow, {0: 3, 1: 5})
    rows = await read_lag(settings, [flow])
    assert [(found.partition, found.committed, found.records) for found in rows] == [(0, 3, 2), (1, 5, 0), (2, None, 5)]
    ages = [found.seconds for found in rows]
    assert ages[1] == 0.0
    assert all(age is not None and 60 <= age < 120 for age in (ages[0], ages[2]))


@pytest.mark.kafka
async def test_looking_changes_nothing(kafka: SharedKafka) -> None:
    """Ten readings of an idle group leave its offsets, its members and its state as they were."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 5)
    await commit(kafka, flow, {0: 3})
    async with open_lag_reader(settings) as reader:
        readings = [(await reader.read([flow]))[0] for _ in range(10)]
    assert {(found.records, found.state, found.members) for found in readings} == {(2, "Empty", 0)}
    async with open_admin(settings) as admin:
        tp = TopicPartition(flow.topic, 0)
        assert await admin.committed(flow.group, [tp]) == {tp: 3}
        unheard_of = f"{flow.group}-2"
        await read_lag(settings, [ConsumedTopic(unheard_of, flow.topic)])
        assert (await admin.group_state(unheard_of)).state == "Dead"


@pytest.mark.kafka
async def test_a_working_group_is_seen_and_undisturbed(kafka: SharedKafka) -> None:
    """A group at work shows its members, and no reading makes it rebalance."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 5)
    async with AIOKafkaConsumer(
        flow.topic,
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=flow.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # it would commit what was read, five seconds later
        session_timeout_ms=60_000,
    ) as consumer:
        await consumer.getone()
        generation = consumer._coordinator.generation
        async with open_lag_reader(settings) as reader:
            (found,) = await reader.read([flow])
        assert (found.state, found.members, found.records) == ("Stable", 1, 5)
        assert consumer._coordinator.generation == generation


@pytest.mark.kafka
async def test_records_lost_to_retention_on_kafka(kafka: SharedKafka) -> None:
    """What the broker deleted before it was committed is reported as lost, and the rest has its age."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 10)
    await commit(kafka, flow, {0: 2})
    async with admin_client(settings) as admin:
        await admin.delete_records({TopicPartition(flow.topic, 0): RecordsToDelete(before_offset=6)})
    (found,) = await read_lag(settings, [flow])
    assert (found.start, found.records, found.lost) == (6, 4, 4)
    assert found.seconds is not None


@pytest.mark.kafka
async def test_a_transaction_s_marker_is_no_record(kafka: SharedKafka) -> None:
    """The marker behind the last record of a transaction takes an offset, and nobody waits for it."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 0)
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=flow.group) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(flow.topic, b"v", partition=0)
    await commit(kafka, flow, {0: 1})
    (found,) = await read_lag(settings, [flow])
    while found.end == 1:  # the coordinator writes the marker after it has answered the commit
        await asyncio.sleep(0.02)
        (found,) = await read_lag(settings, [flow])
    assert (found.end, found.records, found.seconds) == (2, 0, 0.0)


@pytest.mark.kafka
async def test_what_an_aborted_transaction_left(kafka: SharedKafka) -> None:
    """It is no lag, however much of it lies at the end; nor is a record without a time one of 1970."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    flow = await topic_with(kafka, 3)
    await commit(kafka, flow, {0: 3})
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=flow.group) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(flow.topic, b"v", partition=0, timestamp_ms=int(time.time() * 1000) - 60_000)
        (found,) = await read_lag(settings, [flow])
        assert (found.end, found.records, found.held) == (4, 1, 1)
        assert found.seconds is not None
        assert 60 <= found.seconds < 180
        await producer.abort_transaction()
    (found,) = await read_lag(settings, [flow])
    while found.end == 4:  # the coordinator writes the marker after it has answered
        await asyncio.sleep(0.02)
        (found,) = await read_lag(settings, [flow])
    assert (found.end, found.records, found.seconds, found.held, found.note) == (5, 0, 0.0, 0, None)
    await put(kafka.bootstrap_servers, flow.topic, batch(0, Wire(timestamp=-1)))
    (found,) = await read_lag(settings, [flow])
    assert (found.records, found.seconds) == (3, None)
    assert found.note
    assert "no time that could be true" in found.note


@pytest.mark.kafka
async def test_both_groups_of_the_pipeline(chain_settings: Callable[..., Awaitable[Settings]]) -> None:
    """By default the transform on the webhooks and the sink on the operations are read, every partition of them."""
    settings = await chain_settings(partitions=2)
    rows = await read_lag(settings)
    assert [(found.group, found.topic, found.partition, found.records) for found in rows] == [
        (flow.group, flow.topic, partition, 0) for flow in flows_of(settings) for partition in range(2)
    ]


@pytest.mark.kafka
async def test_a_missing_topic(kafka: SharedKafka) -> None:
    """A topic that does not exist is named; it is not a lag of nothing."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    with pytest.raises(TopicError, match="nowhere does not exist"):
        await read_lag(settings, [ConsumedTopic("g", "nowhere")])


@pytest.mark.kafka
async def test_a_topic_of_another_prefix(chain_settings: Any) -> None:
    """Where the topic is there under another prefix, its name and the settings to change are told."""
    settings = await chain_settings(partitions=1)
    there = settings.webhooks_topic
    with pytest.raises(TopicError, match=rf"There is .*{re.escape(there)}.*PIPELINE_WEBHOOKS_TOPIC"):
        await read_lag(settings, [ConsumedTopic("g", f"x-{there}")])


async def test_no_broker() -> None:
    """Without a broker there is an error and no lag."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnreachableError, match="nothing listens there"):
        await read_lag(settings, [ConsumedTopic("g", "t")])
