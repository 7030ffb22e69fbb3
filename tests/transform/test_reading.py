"""Whatever lies in the topics of a real Apache Kafka, the transform reads what is there for it and goes on."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from pipeline.deadletters.envelope import original_of
from pipeline.deadletters.reader import open_letter_reader
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic, PartitionLag
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.kafka.records import OutRecord, text_header
from pipeline.settings import Settings
from tests.admin import until_done
from tests.kafka.record_bytes import GZIP, batch, put, wire
from tests.transform.test_worker import (
    ChainSettings,
    Start,
    payments,
    produce,
    read_all,
    source,
    start,  # noqa: F401 - a fixture
    webhook,
)
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

CODECS = ("gzip", "snappy", "lz4", "zstd")
ANY_TIME = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
DAY_MS = 86_400_000


@asynccontextmanager
async def producing(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A producer of somebody else, with these options."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, **options) as producer:
        yield producer


async def send(
    producer: AIOKafkaProducer, settings: Settings, records: Sequence[OutRecord], partition: int | None = None
) -> list[RecordMetadata]:
    """Put records into the webhooks topic; the place of each, once all are durable."""
    sends = [
        await producer.send(
            settings.webhooks_topic,
            key=one.key,
            value=one.value,
            headers=list(one.headers),
            timestamp_ms=one.timestamp_ms,
            partition=partition,
        )
        for one in records
    ]
    return await asyncio.gather(*sends)


async def lag_of(settings: Settings) -> list[PartitionLag]:
    """The transform's, by partition."""
    return await read_lag(settings, [ConsumedTopic(settings.transform_group, settings.webhooks_topic)])


async def until_committed(settings: Settings, worker: WorkerProcess, *offsets: int) -> None:
    """Wait until the group has committed these offsets, by partition."""
    group, topic = settings.transform_group, settings.webhooks_topic
    await until_done(settings, group, topic, worker.alive, offsets=dict(enumerate(offsets)))


async def webhook_ids(settings: Settings) -> list[str]:
    """Of the webhooks that became operations, each once, in the order of the topic."""
    out = await read_all(settings, settings.operations_topic)
    return list(dict.fromkeys(text_header(one.headers, "webhook-id") or "" for one in out))


def ids(records: Sequence[OutRecord]) -> list[str]:
    """Theirs."""
    return [text_header(one.headers, "webhook-id") or "" for one in records]


async def series(worker: WorkerProcess, name: str) -> float:
    """The sum of a series over its labels."""
    return sum(sample.value for sample in await worker.samples(name))


async def test_any_codec(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811 - the fixture
    """Whichever codec a topic has and a producer chose: webhooks, the customers' state, dead letters and the lag are
    read, and a restart restores from it."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=1)
    topics = (
        settings.webhooks_topic, settings.operations_topic, settings.customers_topic, settings.dead_letters_topic,
    )  # fmt: skip
    async with open_admin(settings) as admin:
        for codec, topic in zip(("producer", "lz4", "zstd", "snappy"), topics, strict=True):
            await admin.set_configs(topic, {"compression.type": codec})
    records = payments(0, 40)
    records.insert(7, OutRecord(b"k", b"no webhook", (("webhook-id", b"msg_bad"),)))
    places: list[RecordMetadata] = []
    for number, codec in enumerate(CODECS):
        async with producing(settings, compression_type=codec, linger_ms=50) as producer:
            places += await send(producer, settings, records[number * 10 : number * 10 + 10])
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.webhooks_topic, {"compression.type": "zstd"})
    places += await produce(settings, records[40:])
    worker = start(settings)
    await until_committed(settings, worker, 41)
    assert await worker.stop() == 0, worker.log.read_text()
    good = [one for one in records if one.value != b"no webhook"]
    assert await webhook_ids(settings) == ids(good)
    async with open_letter_reader(settings) as reader:
        (letter,) = [one async for one in reader.records(reader.spans)]
    assert (letter.value, text_header(letter.headers, "dlq-source")) == (b"no webhook", source(places[7]))
    shutil.rmtree(settings.data_dir)
    async with producing(settings, compression_type="snappy") as producer:
        await send(producer, settings, payments(40, 5))
    assert [(one.records, one.held) for one in await lag_of(settings)] == [(5, 0)]
    worker = start(settings)
    await until_committed(settings, worker, 46)
    assert await series(worker, "dodo_cio_restored_records_total") > 40
    assert await worker.stop() == 0, worker.log.read_text()
    assert await webhook_ids(settings) == ids([*good, *payments(40, 5)])
    assert [(one.records, one.seconds) for one in await lag_of(settings)] == [(0, 0.0)]


async def test_any_bytes(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811 - the fixture
    """A record with a header whose name is not UTF-8, others of times that no clock showed, one that is large when it
    is decompressed: the good ones arrive in order, each bad one is a dead letter with its place, and a restart goes on.
    Put back, what only its header's name was wrong with arrives too."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=1)
    async with open_admin(settings) as admin:
        for topic in (settings.webhooks_topic, settings.operations_topic):
            await admin.set_configs(topic, ANY_TIME)
    good = payments(0, 12)
    for number, at_ms in enumerate((-1, -62_135_596_800_000, 253_402_300_800_000, 2**63 - 1)):
        good[number] = replace(
            good[number],
            timestamp_ms=at_ms,
            headers=tuple(pair for pair in good[number].headers if pair[0] != "received-at"),
        )
    (odd,) = payments(100, 1)
    large = webhook(101, b'{"type":"a.new.one","data":{"x":"' + b"x" * 3_000_000 + b'"}}')
    written = [*map(wire, good[:6]), wire(odd, b"caf\xe9"), *map(wire, good[6:9]), wire(large), *map(wire, good[9:])]
    base = await put(settings.kafka_bootstrap_servers, settings.webhooks_topic, batch(0, *written, compression=GZIP))
    places = [f"{settings.webhooks_topic}/0/{base + number}" for number in range(len(written))]
    worker = start(settings)
    await until_committed(settings, worker, 14)
    assert await worker.stop() == 0, worker.log.read_text()
    assert await webhook_ids(settings) == ids(good)

    dead = await read_all(settings, settings.dead_letters_topic)
    told = [[text_header(one.headers, f"dlq-{name}") for name in ("source", "class", "stage")] for one in dead]
    assert told == [
        [places[6], "unreadable", "transform"],
        [places[10], "unknown-type", "transform"],
    ]
    assert (dead[0].key, dead[0].value) == (odd.key, odd.value)
    assert list(dead[0].headers[:4]) == [*odd.headers, ("caf\\xe9", b"1")]
    assert text_header(dead[0].headers, "dlq-reason") == "the name of a header is not UTF-8: caf\\xe9"
    assert (dead[1].key, dead[1].value) == (large.key, None)  # a topic of 2 MiB takes no letter of 3 MB

    worker = await start(settings).ready()
    async with producing(settings) as producer:
        await send(producer, settings, [original_of(dead[0]), *payments(200, 1)])
    await until_committed(settings, worker, 16)
    assert await worker.stop() == 0, worker.log.read_text()
    assert await webhook_ids(settings) == ids([*good, odd, *payments(200, 1)])
    assert len(await read_all(settings, settings.dead_letters_topic)) == 2


async def test_transactions(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811 - the fixture
    """What was aborted becomes nothing, costs no seek and is no gap; what is committed arrives; while a transaction is
    open the flow stands before it, says so in the lag, and is well."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=1)
    good, aborted = payments(0, 60), payments(500, 60)
    names = [f"t-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    worker = await start(
        settings
    ).ready()  # it polls between the transactions, and finds their markers at the beginning
    async with (
        producing(settings, transactional_id=names[0], linger_ms=5) as one,
        producing(settings, transactional_id=names[1], linger_ms=5) as other,
    ):
        for number in range(0, 50, 10):  # each transaction of the one lies around the middle of one of the other
            await one.begin_transaction()
            await send(one, settings, good[number : number + 5], 0)
            await other.begin_transaction()
            await send(other, settings, aborted[number : number + 5], 0)
            await send(one, settings, good[number + 5 : number + 10], 0)
            await one.commit_transaction()
            await send(other, settings, aborted[number + 5 : number + 10], 0)
            await other.abort_transaction()
            one, other = other, one  # noqa: PLW2901 - both abort and commit in turn
        await until_committed(settings, worker, 110)  # the marker of the last aborted one included
        assert await webhook_ids(settings) == ids(good[:50])
        assert [(row.records, row.seconds, row.note) for row in await lag_of(settings)] == [(0, 0.0, None)]
        assert await series(worker, "dodo_cio_seeks_back_total") == 0
        assert await series(worker, "dodo_cio_offset_gaps_total") == 0

        await one.begin_transaction()
        await send(one, settings, good[50:55], 0)
        await produce(settings, good[55:])
        (row,) = await lag_of(settings)
        assert (row.committed, row.end, row.records, row.held) == (110, 120, 10, 10)
        assert row.note
        assert "10 of them cannot be read before a transaction ends that is open since offset 110" in row.note
        assert row.seconds is not None
        await worker.answers("/metrics", "dodo_cio_records_unread 0.0")
        assert (await worker.get("/live")).json()["live"] is True
        assert await webhook_ids(settings) == ids(good[:50])
        await one.commit_transaction()
        await until_committed(settings, worker, 121)
    assert await webhook_ids(settings) == ids(good)
    assert (await read_all(settings, settings.dead_letters_topic)) == []
    assert await series(worker, "dodo_cio_seeks_back_total") == 0
    assert await worker.stop() == 0, worker.log.read_text()
