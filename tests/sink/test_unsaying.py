"""The state hears that an identify was given up, behind its dead letter; a sink without the right to tell goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import structlog
from aiokafka import AIOKafkaConsumer

from pipeline.errors import RecordTooLargeError, TopicError
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord, Record, text_header
from pipeline.settings import Settings
from pipeline.sink.letters import DeadLetters, GivenUp
from pipeline.sink.unsaying import Unsaying

ChainSettings = Callable[..., Awaitable[Settings]]

DIGEST = "9f86d081884c7d659a2feaa0c55ad015"


def identify(whose: bytes) -> FetchedRecord:
    """An identify that a state remembers."""
    headers = [("op-id", b"msg_1:identify"), ("identity", DIGEST.encode()), ("identity-of", whose)]
    return FetchedRecord("customerio.operations", 0, 0, 0, 0, b"person", b"{}", headers)


EVENT = FetchedRecord("customerio.operations", 0, 1, 0, 0, b"person", b"{}", [("op-id", b"01A")])


@asynccontextmanager
async def unsaying(settings: Settings) -> AsyncIterator[tuple[Unsaying, BatchProducer]]:
    """One that has learnt what it may do."""
    producer = BatchProducer(settings)
    await producer.start()
    try:
        found = Unsaying(producer, settings.webhooks_topic)
        await found.prime()
        yield found, producer
    finally:
        await producer.stop()


async def webhooks(settings: Settings, count: int) -> list[Any]:
    """The first records of the webhooks' topic."""
    consumer = AIOKafkaConsumer(
        settings.webhooks_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_commands_go_to_the_owners(chain_settings: ChainSettings) -> None:
    """One for each identify, keyed by whose state it is; none for events."""
    settings = await chain_settings(partitions=3)
    async with unsaying(settings) as (unsay, _):
        await unsay([identify(b"cus_1"), EVENT, identify(b"cus_2")])
    found = {record.key: record for record in await webhooks(settings, 2)}
    assert found.keys() == {b"cus_1", b"cus_2"}
    for key, record in found.items():
        assert text_header(record.headers, "dodo-command") == "untold"
        value = {"command": "untold", "customer_id": key.decode(), "identity": DIGEST}
        assert orjson.loads(record.value) == value


@pytest.mark.kafka
async def test_without_the_topic(chain_settings: ChainSettings) -> None:
    """It is said once, and nothing is held up by it."""
    settings = await chain_settings(partitions=1)
    with structlog.testing.capture_logs() as logs:
        async with unsaying(settings.model_copy(update={"webhooks_topic": "not.there"})) as (unsay, _):
            await unsay([identify(b"cus_1")])
            await unsay([identify(b"cus_2")])
    assert len([log for log in logs if "cannot be told" in log["event"]]) == 1


async def test_a_right_that_is_taken_away() -> None:
    """A refused write is said once, and the dead letters go on."""
    sent: list[int] = []

    class Chunk:
        def append(self, *_: object) -> None:
            """One record."""

        async def send(self) -> None:
            """It is refused."""
            sent.append(1)
            raise TopicError("no Write permission")

    class Refusing:
        async def prime(self, *_: str) -> None:
            """The topic can be described."""

        def partition_for(self, *_: object) -> int:
            """There is one."""
            return 0

        def chunk(self) -> Chunk:
            """A new one."""
            return Chunk()

    producer: Any = Refusing()
    unsay = Unsaying(producer, "dodo.webhooks")
    await unsay.prime()
    with structlog.testing.capture_logs() as logs:
        await unsay([EVENT])
        await unsay([identify(b"cus_1")])
        await unsay([identify(b"cus_1")])
    assert (len(sent), len(logs)) == (1, 1)


async def test_headers_that_no_topic_holds() -> None:
    """A command that is too large is said and left out; the others are written, and so is whatever comes after."""
    written: list[bytes | None] = []

    class Chunk:
        def append(self, _topic: str, _partition: int, record: OutRecord) -> None:
            """One record, as the topic takes it."""
            if len(record.key or b"") + len(record.value or b"") > 1_048_588:
                raise RecordTooLargeError("a record is too large")
            written.append(record.key)

        async def send(self) -> None:
            """It is durable."""

    class Holding:
        async def prime(self, *_: str) -> None:
            """The topic can be written."""

        def partition_for(self, *_: object) -> int:
            """There is one."""
            return 0

        def chunk(self) -> Chunk:
            """A new one."""
            return Chunk()

    producer: Any = Holding()
    unsay = Unsaying(producer, "dodo.webhooks")
    await unsay.prime()
    with structlog.testing.capture_logs() as logs:
        await unsay([identify(b"cus_1"), identify(b"c" * 600_000), identify(b"cus_2")])
        await unsay([identify(b"c" * 600_000)])
        await unsay([identify(b"cus_3")])
    assert written == [b"cus_1", b"cus_2", b"cus_3"]
    assert [log["source"] for log in logs] == ["customerio.operations/0/0"] * 2


async def test_behind_the_dead_letter() -> None:
    """What is unsaid has its letter already: a crash between them gives it up, and unsays it, once more."""
    order: list[str] = []

    class Chunk:
        def append(self, _topic: str, _partition: int, _record: object) -> None:
            """One letter."""
            order.append("letter")

        async def send(self) -> None:
            """It is durable."""
            order.append("durable")

    class Producer:
        def partition_for(self, *_: object) -> int:
            """There is one."""
            return 0

        def chunk(self) -> Chunk:
            """A new one."""
            return Chunk()

    async def unsay(records: Sequence[Record]) -> None:
        order.append(f"unsaid {len(records)}")

    item: Any = type("Item", (), {"record": identify(b"cus_1")})()
    letters = DeadLetters(Producer(), "dead", lambda _: None, unsay)
    await letters.write([GivenUp(item, "refused", "no")])
    assert order == ["letter", "durable", "unsaid 1"]
