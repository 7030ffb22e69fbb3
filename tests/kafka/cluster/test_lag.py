"""Lag is what waits, in records and in seconds; looking at it changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import (
    ConsumedTopic,
    GroupLag,
    PartitionLag,
    aged,
    flows_of,
    open_lag_reader,
    partition_lag,
    read_lag,
    with_losses,
)
from pipeline.kafka.cluster.losses import KEPT_MS, Loss
from pipeline.kafka.cluster.pace import Throughput, pace
from pipeline.kafka.local.broker import free_port
from pipeline.settings import Settings
from tests.admin import admin_client
from tests.kafka.record_bytes import Wire, batch, put
from tests.kafka.shared import SharedKafka

TP = TopicPartition("t", 0)


def row(committed: int | None, start: int, end: int) -> PartitionLag:
    """The row of a partition whose offsets are all known."""
    return partition_lag("g", TP, {TP: committed}, (start, end))


def test_records_wait_from_the_commit_to_the_end() -> None:
    """A commit at 7 of 10 leaves three, whose age is not known yet."""
    found = row(7, 0, 10)
    assert (found.records, found.seconds, found.lost, found.note) == (3, None, 0, None)


def test_nothing_waits() -> None:
    """At the end the lag is 0 records and 0 seconds."""
    found = row(10, 4, 10)
    assert (found.records, found.seconds) == (0, 0.0)


def test_never_committed() -> None:
    """A group without a commit has everything before it that the broker still holds, and the row says so."""
    found = row(None, 4, 10)
    assert (found.committed, found.records, found.seconds) == (None, 6, None)
    assert found.note
    assert "never committed" in found.note


def test_lost_to_retention() -> None:
    """Records deleted before they were processed are counted, not hidden in the lag."""
    found = row(2, 5, 10)
    assert (found.records, found.lost) == (5, 3)
    assert found.note
    assert "3 records were deleted" in found.note


def test_what_is_written_down_of_losses() -> None:
    """Of what the group has yet to pass over only what is not written down is added; an entry of a day ago, one that
    was acknowledged, and one beyond the end of the topic as it is now, add nothing."""  # noqa: D205, D209 - one promise
    now_ms = 1_800_000_000_000
    assert with_losses(row(8, 5, 10), Loss(5, 3, now_ms), now_ms).lost == 3
    pending = with_losses(row(2, 5, 10), Loss(5, 3, now_ms), now_ms)
    assert (pending.lost, pending.note) == (
        3, "3 records were deleted before they were processed, the last ones seen at 2027-01-15T08:00:00+00:00"
    )  # fmt: skip
    assert with_losses(row(2, 7, 10), Loss(5, 3, now_ms), now_ms).lost == 5
    assert with_losses(row(8, 5, 10), Loss(5, 3, now_ms - KEPT_MS), now_ms).lost == 0
    acknowledged = with_losses(row(2, 5, 10), Loss(5), now_ms)
    assert (acknowledged.lost, acknowledged.note) == (0, None)
    assert with_losses(row(8, 5, 10), Loss(11, 3, now_ms), now_ms).lost == 0
    assert with_losses(row(2, 5, 10), None, now_ms).lost == 3
    assert with_losses(partition_lag("g", TP, {}, (0, 10)), Loss(5, 3, now_ms), now_ms).lost is None


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (partition_lag("g", TP, {}, (0, 10)), "did not tell"),
        (partition_lag("g", TP, {TP: 3}, None), "could not be read"),
        (row(11, 0, 10), "created anew"),
    ],
)
def test_unknown_is_not_zero(found: PartitionLag, note: str) -> None:
    """An offset that is not told, ends that cannot be read, a commit beyond the end: None, with the reason."""
    assert (found.records, found.seconds) == (None, None)
    assert found.note
    assert note in found.note


def test_age() -> None:
    """The age is the clock minus the record's timestamp, and never negative for a producer whose clock is ahead."""
    assert aged(row(7, 0, 10), {0: 1_000}, set(), 4_500).seconds == 3.5
    assert aged(row(7, 0, 10), {0: 9_000}, set(), 4_500).seconds == 0.0


@pytest.mark.parametrize("written_ms", [None, 2**62, 4_500 + 2 * 86_400_000])
def test_a_time_that_cannot_be_true(written_ms: int | None) -> None:
    """A record without a time, or of the day after tomorrow, has an unknown age: not that of 1970, and not 0."""
    found = aged(row(7, 0, 10), {0: written_ms}, set(), 4_500)
    assert (found.records, found.seconds) == (3, None)
    assert found.note
    assert "no time that could be true" in found.note


def test_an_open_transaction() -> None:
    """What it holds back waits as well, and the row says why nobody reads it."""
    found = partition_lag("g", TP, {TP: 7}, (0, 12), 10)
    assert (found.records, found.held) == (5, 2)
    assert found.note
    assert "2 of them cannot be read before a transaction ends that is open since offset 10" in found.note
    assert aged(found, {0: 1_000}, set(), 4_500).seconds == 3.5
    nothing_before = aged(found, {0: 2_000}, {0}, 4_500)
    assert (nothing_before.records, nothing_before.seconds) == (2, 2.5)
    assert (row(7, 0, 12).held, partition_lag("g", TP, {TP: 11}, (0, 12), 10).held) == (0, 1)
    assert (group(found, row(7, 0, 12)).held, group(found).records) == (2, 5)


def test_an_unread_record_has_no_age() -> None:
    """When the first record was not read in time, records are known and seconds are not."""
    found = aged(row(7, 0, 10), {}, set(), 4_500)
    assert (found.records, found.seconds) == (3, None)
    assert found.note


def group(*rows: PartitionLag) -> GroupLag:
    """A group with these rows."""
    return GroupLag("g", "t", "Stable", 1, tuple(replace(each, partition=number) for number, each in enumerate(rows)))


def test_a_total_with_an_unknown_part_is_unknown() -> None:
    """A sum over partitions of which one is unknown would claim less lag than there is."""
    known = aged(row(7, 0, 10), {0: 1_000}, set(), 4_500)
    assert (group(known, row(10, 0, 10)).records, group(known, row(10, 0, 10)).seconds) == (3, 3.5)
    unknown = partition_lag("g", TP, {}, (0, 10))
    assert (group(known, unknown).records, group(known, unknown).seconds) == (None, None)


def test_pace() -> None:
    """Between two readings 10 s apart: 40 came, 100 were done, 60 wait, so 10 s to go."""
    assert pace(group(row(0, 0, 120)), group(row(100, 0, 160)), 10.0) == Throughput(4.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (group(row(0, 0, 10)), group(row(5, 0, 20)), Throughput(1.0, 0.5, None)),  # falls behind
        (group(row(0, 0, 10)), group(row(0, 0, 10)), Throughput(0.0, 0.0, None)),  # stands still
        (group(row(10, 0, 10)), group(row(10, 0, 10)), Throughput(0.0, 0.0, 0.0)),  # nothing waits
        (group(row(None, 0, 10)), group(row(4, 0, 10)), Throughput(0.0, 0.4, 15.0)),  # its first commit
        (group(row(9, 0, 10)), group(row(1, 0, 10)), Throughput()),  # somebody reset the group
        (group(row(9, 0, 10)), group(row(0, 0, 1)), Throughput()),  # the topic was created anew
        (group(partition_lag("g", TP, {}, (0, 1))), group(row(0, 0, 1)), Throughput()),
        (group(row(0, 0, 1)), group(row(0, 0, 1), row(0, 0, 1)), Throughput()),  # a partition was added
    ],
)
def test_pace_that_cannot_be_told(before: GroupLag, after: GroupLag, expected: Throughput) -> None:
    """A group that does not catch up is never drained, and a reading without its pair tells nothing."""
    assert pace(before, after, 10.0) == expected


@given(st.none() | st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_no_record_is_counted_twice_or_forgotten(committed: int | None, start: int, held: int) -> None:
    """Done, lost and waiting add up to the end, whatever was committed."""
    end = start + held
    found = row(committed, start, end)
    if found.records is None:
        assert committed is not None
        assert committed > end
        return
    assert found.lost is not None
    assert 0 <= found.records <= held
    assert (start if committed is None else committed) + found.lost + found.records == end


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
        flow.topic, bootstrap_servers=kafka.bootstrap_servers, group_id=flow.group, auto_offset_reset="earliest"
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
