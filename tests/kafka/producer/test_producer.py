"""Nothing missing, nothing twice, everything in order: the producer on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from pipeline.errors import (
    BrokenSequenceError,
    BrokerUnreachableError,
    DeliveryError,
    RecordTooLargeError,
    TopicError,
)
from pipeline.kafka.closing import close_unflushed
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes, max_message_bytes
from pipeline.kafka.events import ProducerEvent, ProduceStalled
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.producer import producer as producer_module
from pipeline.kafka.producer import write_gate
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.tasks import TaskFailed

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]


@asynccontextmanager
async def producing(
    settings: Settings, observers: list[Callable[[ProducerEvent], None]] | None = None
) -> AsyncIterator[BatchProducer]:
    """A started producer that knows the operations' topic."""
    producer = BatchProducer(settings, observers or [])
    await producer.start()
    try:
        await producer.prime(settings.operations_topic)
        yield producer
    finally:
        await producer.stop()


async def stored(settings: Settings) -> dict[int, list[ConsumerRecord]]:
    """Everything in the operations' topic, by partition."""
    consumer = AIOKafkaConsumer(
        settings.operations_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in consumer.assignment()}
        ends = await consumer.end_offsets(consumer.assignment())
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found[tp.partition] += records
        return found
    finally:
        await consumer.stop()


def send_numbers(producer: BatchProducer, topic: str, numbers: range, keys: int = 50) -> asyncio.Future[None]:
    """One chunk of numbered records; a key's numbers rise."""
    chunk = producer.chunk()
    for number in numbers:
        key = b"customer-%d" % (number % keys)
        chunk.append(topic, producer.partition_for(topic, key), OutRecord(key, b"%d" % number))
    return chunk.send()


def numbers_of(found: dict[int, list[ConsumerRecord]]) -> dict[int, list[int]]:
    """The numbers in each partition, in the order of their offsets."""
    return {partition: [int(record.value or b"") for record in records] for partition, records in found.items()}


async def test_concurrent_chunks_keep_their_order(chain_settings: ChainSettings) -> None:
    """Chunks that are sent without waiting for each other lie in each partition in the order of the calls, once."""
    settings = await chain_settings(partitions=4)
    async with producing(settings) as producer:
        sent, at = [], 0
        dice = random.Random(7)
        while at < 20_000:
            size = dice.randrange(1, 400)
            sent.append(send_numbers(producer, settings.operations_topic, range(at, at + size)))
            at += size
            if dice.random() < 0.3:
                await asyncio.sleep(0)
        await asyncio.gather(*sent)
    found = numbers_of(await stored(settings))
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(at))


async def test_a_record_arrives_as_it_was(chain_settings: ChainSettings) -> None:
    """Key, value and headers come out byte for byte; tombstones and keyless records too."""
    settings = await chain_settings(partitions=4)
    full = OutRecord(b"key", b"value", (("h", b"\x00\xff"), ("h", b"2")))
    async with producing(settings) as producer:
        places = [
            await producer.send(settings.operations_topic, full),
            await producer.send(settings.operations_topic, full, partition=3),
            await producer.send(settings.operations_topic, OutRecord(b"key", None)),
            await producer.send(settings.operations_topic, OutRecord(None, b"value")),
        ]
    found = await stored(settings)
    records = [found[partition][offset] for partition, offset in places]
    assert places[0][0] == producer_partition(b"key")
    assert places[1][0] == 3
    assert [(record.key, record.value) for record in records] == [
        (b"key", b"value"),
        (b"key", b"value"),
        (b"key", None),
        (None, b"value"),
    ]
    assert tuple(records[0].headers) == (("h", b"\x00\xff"), ("h", b"2"))


def producer_partition(key: bytes) -> int:
    """Where aiokafka's own partitioner puts a key among four partitions."""
    from aiokafka.partitioner import DefaultPartitioner

    return int(DefaultPartitioner()(key, [0, 1, 2, 3], [0, 1, 2, 3]))


async def test_a_broker_restart_costs_nothing(own_kafka: LocalKafka, chain_settings: ChainSettings) -> None:
    """Stopped, then killed, and restarted under load: 0 missing, 0 repeated, order kept."""
    settings = await chain_settings(partitions=4, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    async with producing(settings) as producer:
        sent: list[asyncio.Future[None]] = []
        over = asyncio.Event()
        room = asyncio.Semaphore(100)
        """Chunks under way: more than a busy broker takes would be ever more behind."""

        async def load() -> None:
            while not over.is_set():
                await room.acquire()
                at = len(sent) * 50
                sent.append(send_numbers(producer, settings.operations_topic, range(at, at + 50)))
                sent[-1].add_done_callback(lambda _: room.release())

        loading = asyncio.create_task(load())
        for end in (own_kafka.stop, own_kafka.kill):
            await settled(sent, 50)
            await asyncio.to_thread(end)
            await asyncio.to_thread(own_kafka.restart)
        await settled(sent, 50)
        over.set()
        await loading
        await asyncio.gather(*sent)
    found = numbers_of(await stored(settings))
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(len(sent) * 50))


async def settled(sent: list[asyncio.Future[None]], more: int) -> None:
    """Wait until `more` of the chunks sent from now on are durable."""
    begin = len(sent)
    async with asyncio.timeout(300):
        while sum(future.done() for future in sent[begin:]) < more:  # noqa: ASYNC110 - they are sent meanwhile
            await asyncio.sleep(0.01)


async def test_a_broker_that_does_not_answer_is_waited_for(
    own_kafka: LocalKafka, chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen for longer than the request time-out: the same batches are written once it is back, once."""
    monkeypatch.setattr(producer_module, "REQUEST_TIMEOUT_MS", 1000)
    stalls: list[ProduceStalled] = []
    stalled = asyncio.Event()

    def observe(event: ProducerEvent) -> None:
        if isinstance(event, ProduceStalled):
            stalls.append(event)
        if len(stalls) > 3:
            stalled.set()

    settings = await chain_settings(partitions=2, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    async with producing(settings, [observe]) as producer:
        await send_numbers(producer, settings.operations_topic, range(100))
        own_kafka.pause()
        sent = [send_numbers(producer, settings.operations_topic, range(at, at + 100)) for at in range(100, 1000, 100)]
        async with asyncio.timeout(300):
            await stalled.wait()
        own_kafka.resume()
        await asyncio.gather(*sent)
    found = numbers_of(await stored(settings))
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(1000))


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(
    own_kafka: LocalKafka, chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not acknowledged fails; the process can end."""
    monkeypatch.setattr(producer_module, "STOP_S", 0.5)
    settings = await chain_settings(partitions=2, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    producer = BatchProducer(settings)
    await producer.start()
    await producer.prime(settings.operations_topic)
    own_kafka.pause()
    sent = [send_numbers(producer, settings.operations_topic, range(at, at + 10)) for at in range(0, 100, 10)]
    await asyncio.sleep(0)
    async with asyncio.timeout(300):
        await producer.stop()
    for future in sent:
        with pytest.raises(DeliveryError, match="stopped"):
            await future
    own_kafka.resume()


async def test_what_was_abandoned_is_never_written(
    own_kafka: LocalKafka, chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that wait for a broker fail, and are not there once it is back; a new producer writes on."""
    monkeypatch.setattr(producer_module, "RETRY_S", 0.1)
    settings = await chain_settings(partitions=2, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    async with producing(settings) as producer:
        await send_numbers(producer, settings.operations_topic, range(10))
        await asyncio.to_thread(own_kafka.kill)
        sent = [send_numbers(producer, settings.operations_topic, range(at, at + 10)) for at in (10, 20)]
        await asyncio.sleep(0)
        producer.abandon()
        for future in sent:
            with pytest.raises(DeliveryError, match="given up"):
                await future
        with pytest.raises(DeliveryError, match="not started"):
            producer.chunk()
        renewing = asyncio.create_task(producer.renew())
        await asyncio.to_thread(own_kafka.restart)
        await renewing
        await send_numbers(producer, settings.operations_topic, range(30, 40))
    found = numbers_of(await stored(settings))
    assert sorted(number for numbers in found.values() for number in numbers) == [*range(10), *range(30, 40)]


async def test_an_abandoned_producer_leaves_no_connection(chain_settings: ChainSettings) -> None:
    """Also when a request waits that may not leave, and would look for a connection once more."""
    settings = await chain_settings(partitions=1)
    asked = asyncio.Event()

    def may_write() -> bool:
        asked.set()
        return False

    producer = BatchProducer(settings, may_write=may_write)
    await producer.start()
    await producer.prime(settings.operations_topic)
    sent = send_numbers(producer, settings.operations_topic, range(10))
    await asked.wait()
    client = producer._started().client
    producer.abandon()
    with pytest.raises(DeliveryError, match="given up"):
        await sent
    await producer.stop()
    assert not [connection for connection in client._conns.values() if connection.connected()]


async def test_the_end_of_an_abandoned_producer_is_not_that_of_the_next(
    chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than to get another one, which then writes as if nothing had been.

    A worker that was frozen past its session gives up what it may not write any more, and is back in its group at once.
    """
    settings = await chain_settings(partitions=1)
    may, asked, renewed = [False], asyncio.Event(), asyncio.Event()

    def may_write() -> bool:
        asked.set()
        return may[0]

    async def close_late(former: Any) -> None:
        await renewed.wait()
        await close_unflushed(former)

    monkeypatch.setattr(write_gate, "close_unflushed", close_late)
    heard: list[Any] = []
    producer = BatchProducer(settings, [heard.append], may_write)
    await producer.start()
    try:
        await producer.prime(settings.operations_topic)
        sent = send_numbers(producer, settings.operations_topic, range(10))
        await asked.wait()  # the request is held back
        sender = producer._started()._sender.sender_task
        producer.abandon()
        with pytest.raises(DeliveryError, match="given up"):
            await sent
        await producer.renew()
        assert not sender.done()
        may[0] = True
        for at in (10, 20):
            await send_numbers(producer, settings.operations_topic, range(at, at + 10))
            renewed.set()
            await asyncio.wait({sender})
        assert not [event for event in heard if isinstance(event, TaskFailed)]
    finally:
        await producer.stop()
    assert numbers_of(await stored(settings)) == {0: [*range(10, 30)]}


async def test_records_wait_while_they_may_not_be_written(chain_settings: ChainSettings) -> None:
    """Nothing leaves meanwhile; then everything does, once, in order."""
    settings = await chain_settings(partitions=1)
    may, asked = [False], asyncio.Event()

    def may_write() -> bool:
        asked.set()
        return may[0]

    producer = BatchProducer(settings, may_write=may_write)
    await producer.start()
    try:
        await producer.prime(settings.operations_topic)
        sent = [send_numbers(producer, settings.operations_topic, range(at, at + 10)) for at in (0, 10)]
        async with asyncio.timeout(60):
            await asked.wait()
        assert numbers_of(await stored(settings)) == {0: []}
        may[0] = True
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    assert numbers_of(await stored(settings)) == {0: list(range(20))}


async def test_no_broker_is_one_message() -> None:
    """A producer that cannot connect says where it tried."""
    settings = Settings.load(kafka_bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1"):
        await BatchProducer(settings).start()


async def test_a_missing_topic_is_named(chain_settings: ChainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Priming finds what is not there before the first record does."""
    settings = await chain_settings()
    producer = BatchProducer(settings)
    await producer.start()
    monkeypatch.setattr(producer._started().client, "_request_timeout_ms", 500)  # of what is known of topics
    try:
        with pytest.raises(TopicError, match="topic not-there does not exist"):
            await producer.prime("not-there")
        with pytest.raises(DeliveryError, match="not-there was not primed"):
            producer.partition_for("not-there", b"k")
    finally:
        await producer.stop()


async def test_a_producer_that_is_not_started_says_so() -> None:
    """Sending before the start or after the stop is an error of ours, not a hang."""
    with pytest.raises(DeliveryError, match="not started"):
        BatchProducer(Settings.load()).chunk()


async def test_an_oversize_record_does_not_poison_the_sequence(chain_settings: ChainSettings) -> None:
    """It is refused with the topic's own limit before it is sent, and the partition goes on."""
    settings = await chain_settings(partitions=1)
    await set_limit(settings, 5000)
    async with producing(settings) as producer:
        with pytest.raises(RecordTooLargeError, match="takes 5000"):
            await producer.send(settings.operations_topic, OutRecord(b"k", b"v" * 5000))
        fits = OutRecord(b"k", b"v" * 4900)
        assert await producer.send(settings.operations_topic, fits) == (0, 0)


async def test_a_batch_that_the_broker_refuses_breaks_the_producer_loudly(chain_settings: ChainSettings) -> None:
    """MessageSizeTooLarge: that send and every later one to the partition fail, and a new producer works."""
    settings = await chain_settings(partitions=1)
    async with producing(settings) as producer:
        await producer.send(settings.operations_topic, OutRecord(b"k", b"before"))
        await set_limit(settings, 5000)  # after the producer learned the limit
        with pytest.raises(BrokenSequenceError, match="MessageSizeTooLarge"):
            await send_again_and_again(producer, settings.operations_topic, OutRecord(b"k", b"v" * 6000))
        for _ in range(2):
            with pytest.raises(BrokenSequenceError):
                await producer.send(settings.operations_topic, OutRecord(b"k", b"after"))
    async with producing(settings) as fresh:
        await fresh.send(settings.operations_topic, OutRecord(b"k", b"fresh"))
    small = [record.value for record in (await stored(settings))[0] if len(record.value or b"") < 6000]
    assert small == [b"before", b"fresh"]


async def test_sizes_are_checked_before_the_start(chain_settings: ChainSettings) -> None:
    """A topic that is too small for what we send is named, with what to do."""
    settings = await chain_settings()
    await check_sizes(settings, settings.operations_topic, settings.webhooks_topic)
    await set_limit(settings, 5000)
    assert await max_message_bytes(settings, [settings.operations_topic]) == {settings.operations_topic: 5000}
    with pytest.raises(TopicError, match=rf"topic {settings.operations_topic}: max.message.bytes is 5000"):
        await check_sizes(settings, settings.operations_topic, settings.webhooks_topic)


async def send_again_and_again(producer: BatchProducer, topic: str, record: OutRecord) -> None:
    """Until it is refused: the leader's log lives by its topic's settings a moment after brokers tell them."""
    async with asyncio.timeout(300):
        while True:
            await producer.send(topic, record)


async def set_limit(settings: Settings, size: int) -> None:
    """Set `max.message.bytes` of the operations' topic, and wait until the broker tells it."""
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.operations_topic, {"max.message.bytes": str(size)})
    async with asyncio.timeout(300):
        topic = settings.operations_topic
        while (await max_message_bytes(settings, [topic]))[topic] != size:  # noqa: ASYNC110 - Kafka does not announce it
            await asyncio.sleep(0.05)


@pytest.mark.kafka
async def test_a_time_that_the_brokers_do_not_take(chain_settings: ChainSettings) -> None:
    """A customers' topic as `topics apply` makes it has its leader's time, however wrong the writer's clock is; one
    that keeps its writers' times refuses the record, and the message says clock and cure."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(partitions=1)
    topic = settings.customers_topic
    ahead = OutRecord(b"k", b"v", timestamp_ms=int(time.time() * 1000) + 5_400_000)
    producer = BatchProducer(settings)
    await producer.start()

    try:
        await producer.prime(topic)
        await producer.send(topic, ahead)
        async with open_admin(settings) as admin:
            await admin.set_configs(topic, {"message.timestamp.type": "CreateTime"})
        with pytest.raises(TopicError, match=r"refuses a record for its time: this machine's clock .*LogAppendTime"):
            await send_again_and_again(producer, topic, ahead)
    finally:
        await producer.stop()
