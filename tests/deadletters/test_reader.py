"""Reading dead letters from a real Apache Kafka leaves no trace and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import TopicAuthorizationFailedError
from structlog.testing import capture_logs

from pipeline.deadletters.letter import Place
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.receipts import receipt
from pipeline.errors import BrokerUnreachableError, InputError, TopicError
from pipeline.kafka.cluster import topic_reader as reader_module
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_reader import SKEW_MS, Span
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests.admin import admin_client
from tests.kafka.record_bytes import CODECS, Wire, batch, put

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
NOW_MS = 1_700_000_000_000


@pytest.fixture
def with_partitions(chain_settings: ChainSettings) -> ChainSettings:
    """`await build(3)`: settings whose dead-letter topic has three partitions, and records keep the time given."""

    async def build(partitions: int) -> Settings:
        settings = await chain_settings(partitions=1)
        topic = f"{settings.dead_letters_topic}.wide"
        async with open_admin(settings) as admin:
            await admin.create(topic, partitions, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
        return settings.model_copy(update={"dead_letters_topic": topic})

    return build


async def write(settings: Settings, *records: tuple[int, OutRecord]) -> None:
    """Append records to partitions of the dead-letter topic."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for partition, record in records:
            await producer.send_and_wait(
                settings.dead_letters_topic,
                record.value,
                record.key,
                partition=partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
    finally:
        await producer.stop()


def numbered(*values: int) -> list[OutRecord]:
    """Records with a number each."""
    return [OutRecord(b"k", b"%d" % value, timestamp_ms=NOW_MS) for value in values]


async def read(settings: Settings) -> list[tuple[int, bytes | None]]:
    """Partition and value of all that a reader finds."""
    async with open_letter_reader(settings) as reader:
        return [(record.partition, record.value) async for record in reader.records(reader.spans)]


async def test_all_partitions_up_to_the_end_at_the_start(with_partitions: ChainSettings) -> None:
    """Everything that lay there, in order within each partition; what comes later is not read, an empty one no wait."""
    settings = await with_partitions(3)
    await write(settings, *((n % 2, record) for n, record in enumerate(numbered(*range(10)))))
    async with open_letter_reader(settings) as reader:
        assert reader.spans == {0: Span(0, 5), 1: Span(0, 5), 2: Span(0, 0)}
        await write(settings, *((n % 3, record) for n, record in enumerate(numbered(*range(90, 99)))))
        for _ in range(2):
            found: dict[int, list[bytes | None]] = {0: [], 1: []}
            async for record in reader.records(reader.spans):
                found[record.partition].append(record.value)
            assert found == {0: [b"0", b"2", b"4", b"6", b"8"], 1: [b"1", b"3", b"5", b"7", b"9"]}


async def test_part_of_a_partition(with_partitions: ChainSettings) -> None:
    """A span is read exactly, and the same reader can go back."""
    settings = await with_partitions(1)
    await write(settings, *((0, record) for record in numbered(*range(20))))
    async with open_letter_reader(settings) as reader:
        for span in (Span(15, 18), Span(3, 5), Span(7, 7), Span(0, 20)):
            values = [record.value async for record in reader.records({0: span})]
            assert values == [b"%d" % n for n in range(span.start, span.end)]


async def test_no_group_and_no_commit(own_kafka: LocalKafka, chain_settings: ChainSettings) -> None:
    """Afterwards the cluster knows of no consumer group that it did not know before."""
    settings = await chain_settings(partitions=1, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    await write(settings, *((0, record) for record in numbered(1, 2)))
    async with admin_client(settings) as admin:
        before = set(await admin.list_consumer_groups())
        assert len(await read(settings)) == 2
        assert set(await admin.list_consumer_groups()) == before


async def test_what_retention_deleted(chain_settings: ChainSettings) -> None:
    """The topic begins where it begins; a place before that is named with the offsets that there are."""
    settings = await chain_settings(partitions=1)
    await write(settings, *((0, record) for record in numbered(*range(5))))
    async with admin_client(settings) as admin:
        await admin.delete_records({TopicPartition(settings.dead_letters_topic, 0): RecordsToDelete(before_offset=3)})
    assert await read(settings) == [(0, b"3"), (0, b"4")]
    async with open_letter_reader(settings) as reader:
        with pytest.raises(InputError, match=r"no dead letter at 0/2: partition 0 of \S+ holds offsets 3 to 4"):
            await reader.letter_at(Place(0, 2))


async def test_one_place(chain_settings: ChainSettings) -> None:
    """One letter by its place; where none is, the message says what there is."""
    settings = await chain_settings(partitions=1)
    await write(settings, *((0, record) for record in numbered(7, 8)), (0, receipt([b"\0" * 12], NOW_MS)))
    async with open_letter_reader(settings) as reader:
        assert (await reader.letter_at(Place(0, 1))).value == b"8"
        for place, said in (
            (Place(0, 3), "holds offsets 0 to 2"),
            (Place(1, 0), "has no partition 1: it has 1"),
            (Place(0, 2), "is no dead letter but the note"),
        ):
            with pytest.raises(InputError, match=said):
                await reader.letter_at(place)


async def until_it_ends_at(settings: Settings, end: int) -> None:
    """Wait until everything before offset `end` of partition 0 can be read."""
    while True:
        async with open_letter_reader(settings) as reader:
            if reader.spans[0].end == end:
                return


async def test_whatever_lies_there(chain_settings: ChainSettings) -> None:
    """Letters of every codec, and one with a header whose name is not UTF-8, are read; those of an aborted transaction
    are not, and behind an open one there may be more, which is said."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=1)
    topic, servers = settings.dead_letters_topic, settings.kafka_bootstrap_servers
    for codec in CODECS:
        await put(servers, topic, batch(0, Wire(value=b"%d" % codec), compression=codec))
    await put(
        servers, topic, batch(0, Wire(value=b"a"), Wire(value=b"odd", headers=[(b"\xff", b"1")]), Wire(value=b"b"))
    )
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        await write(settings, *((0, record) for record in numbered(9)))
        expected = [b"0", b"1", b"2", b"3", b"4", b"a", b"odd", b"b", b"9"]
        await until_it_ends_at(settings, 11)
        assert [value for _, value in await read(settings)] == expected
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open")
        with capture_logs() as lines:
            assert [value for _, value in await read(settings)] == expected
        (said,) = [line for line in lines if line["log_level"] == "warning"]
        assert "behind an open transaction" in said["event"]
        assert (said["open_since_offset"], said["offsets"]) == (11, 1)
        await producer.abort_transaction()


async def test_gaps(chain_settings: ChainSettings) -> None:
    """A partition that ends with the marker of a transaction ends; the marker's offset is no letter."""
    settings = await chain_settings(partitions=1)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=settings.dead_letters_topic
    )
    await producer.start()
    async with producer.transaction():
        await producer.send(settings.dead_letters_topic, b"in a transaction")
    await producer.stop()
    await until_it_ends_at(settings, 2)  # the coordinator writes the marker after it has answered
    assert await read(settings) == [(0, b"in a transaction")]
    async with open_letter_reader(settings) as reader:
        assert reader.spans == {0: Span(0, 2)}
        with pytest.raises(InputError, match="its offset is a gap"):
            await reader.letter_at(Place(0, 1))


async def test_since(with_partitions: ChainSettings) -> None:
    """For a recent time the old part of the topic is not read, but for a day that clocks may be apart."""
    settings = await with_partitions(2)
    times = [NOW_MS - 3 * SKEW_MS, NOW_MS - 2 * SKEW_MS, NOW_MS - SKEW_MS, NOW_MS]
    await write(
        settings, *((0, replace(record, timestamp_ms=t)) for record, t in zip(numbered(*range(4)), times, strict=True))
    )
    async with open_letter_reader(settings) as reader:
        assert await reader.since(None) == {0: Span(0, 4), 1: Span(0, 0)}
        assert await reader.since(NOW_MS) == {0: Span(2, 4), 1: Span(0, 0)}
        assert await reader.since(NOW_MS - 5 * SKEW_MS) == {0: Span(0, 4), 1: Span(0, 0)}
        assert await reader.since(NOW_MS + 2 * SKEW_MS) == {0: Span(4, 4), 1: Span(0, 0)}
        assert await reader.since(10**19) == {0: Span(4, 4), 1: Span(0, 0)}


async def test_missing_topic(chain_settings: ChainSettings) -> None:
    """A missing topic is named, with the command that creates it, and not created."""
    settings = (await chain_settings(partitions=1)).model_copy(update={"dead_letters_topic": "nowhere"})
    with pytest.raises(TopicError, match=r"nowhere does not exist .* topics apply"):
        await read(settings)


async def test_no_broker(chain_settings: ChainSettings) -> None:
    """Without a broker the message says which setting to look at."""
    settings = await chain_settings(partitions=1)
    settings = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(BrokerUnreachableError, match="PIPELINE_KAFKA_BOOTSTRAP_SERVERS"):
        await read(settings)


async def test_a_broker_that_falls_silent(
    own_kafka: LocalKafka, chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person is told when nothing comes any more, instead of waiting for ever."""
    settings = await chain_settings(partitions=1, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    await write(settings, *((0, record) for record in numbered(1)))
    monkeypatch.setattr(reader_module, "STALLED_S", 0.5)
    async with open_letter_reader(settings) as reader:
        own_kafka.pause()
        try:
            with pytest.raises(BrokerUnreachableError, match=r"dead-letters/0 gave no record for"):
                [record async for record in reader.records(reader.spans)]
        finally:
            own_kafka.resume()


async def test_a_topic_that_may_not_be_read(chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission is named; it is no broken broker."""
    settings = await chain_settings(partitions=1)
    await write(settings, *((0, record) for record in numbered(1)))

    async def refused(*_: Any, **__: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        raise TopicAuthorizationFailedError(settings.dead_letters_topic)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", refused)
    with pytest.raises(TopicError, match=r"it needs the ACL READ on the topic"):
        async with asyncio.timeout(300):
            await read(settings)
