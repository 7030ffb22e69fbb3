"""Whoever reads, reads what is committed, of every codec, whatever the bytes."""

from __future__ import annotations

import ast
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.kafka import readers
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.readers import log_ends, new_reader
from pipeline.settings import Settings
from tests.kafka.record_bytes import GZIP, Wire, batch, put
from tests.kafka.shared import SharedKafka

PIPELINE = Path(readers.__file__).parents[1]
CODECS = ("gzip", "snappy", "lz4", "zstd")


def test_one_place_makes_consumers() -> None:
    """No module but `readers` makes a consumer; Faust's own is set to the same in `consumer_thread`."""
    makers = [
        path.relative_to(PIPELINE).as_posix()
        for path in PIPELINE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "AIOKafkaConsumer"
    ]
    assert makers == ["kafka/readers.py"]


async def test_what_it_reads() -> None:
    """What is committed, from the start, in no group; an option of the caller's wins."""
    settings = Settings.load()
    consumer = new_reader(settings, fetch_max_wait_ms=7)
    assert (consumer._isolation_level, consumer._group_id, consumer._enable_auto_commit) == (
        "read_committed", None, False,
    )  # fmt: skip
    assert (consumer._auto_offset_reset, consumer._fetch_max_wait_ms, consumer._check_crcs) == ("earliest", 7, True)
    await consumer.stop()


async def topic(kafka: SharedKafka, **configs: str) -> TopicPartition:
    """The only partition of a topic of its own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    async with open_admin(Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)) as admin:
        await admin.create(name, 1, 1, {key.replace("_", "."): value for key, value in configs.items()})
    return TopicPartition(name, 0)


async def read(kafka: SharedKafka, tp: TopicPartition, count: int) -> list[object]:
    """So many records, from the start."""
    consumer = new_reader(Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers))
    await consumer.start()
    try:
        consumer.assign([tp])
        found: list[object] = []
        while len(found) < count:
            found += (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
        return found
    finally:
        await consumer.stop()


@pytest.mark.kafka
@pytest.mark.parametrize("level", ["topic", "producer"])
@pytest.mark.parametrize("codec", CODECS)
async def test_codecs_on_kafka(kafka: SharedKafka, codec: str, level: str) -> None:
    """Compressed by the broker for the topic, or by a producer that chose to."""
    tp = await topic(kafka, **({"compression_type": codec} if level == "topic" else {}))
    values = [b"%d " % number * 500 for number in range(20)]
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers,
        compression_type=codec if level == "producer" else None,
        linger_ms=20,
    ) as producer:
        for value in values:
            await producer.send(tp.topic, value, partition=0)
    assert [one.value for one in await read(kafka, tp, 20)] == values  # type: ignore[attr-defined]


@pytest.mark.kafka
async def test_any_bytes_on_kafka(kafka: SharedKafka) -> None:
    """Batches that a broker takes and no client of ours writes: names that are no text, far times, a thousand headers,
    nothing at all."""  # noqa: D205, D209 - one promise
    tp = await topic(kafka, message_timestamp_after_max_ms=str(2**63 - 1))
    odd = [(b"\xed\xa0\x80", b"1"), (b"", None), (b"a", b""), (b"a", b"")]
    records = [
        Wire(None, None),
        Wire(headers=odd),
        Wire(timestamp=-1),
        Wire(timestamp=-62_135_596_800_000),
        Wire(timestamp=2**63 - 1),
        Wire(headers=[(b"%d" % number, b"v") for number in range(1000)]),
    ]
    await put(kafka.bootstrap_servers, tp.topic, batch(0, *records, compression=GZIP))
    for record in records:
        await put(kafka.bootstrap_servers, tp.topic, batch(0, record))
    found = await read(kafka, tp, 12)
    assert [one.offset for one in found] == list(range(12))  # type: ignore[attr-defined]
    assert [one.timestamp for one in found] == [one.timestamp for one in records * 2]  # type: ignore[attr-defined]
    assert [one.offset for one in found if type(one) is UnreadableRecord] == [1, 7]
    assert [len(one.headers) for one in found] == [len(one.headers) for one in records * 2]  # type: ignore[attr-defined]


@pytest.mark.kafka
async def test_ends_on_kafka(kafka: SharedKafka) -> None:
    """What can be read ends before an open transaction, and the log behind it."""
    tp = await topic(kafka)
    consumer = new_reader(Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers))
    await consumer.start()
    try:
        async with (
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=tp.topic) as producer,
            producer.transaction(),
        ):
            await producer.send_and_wait(tp.topic, b"v", partition=0)
            assert (await consumer.end_offsets([tp]), await log_ends(consumer, [tp])) == ({tp: 0}, {tp: 1})
    finally:
        await consumer.stop()
