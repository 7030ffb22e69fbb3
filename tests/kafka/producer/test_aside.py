"""Records that may be lost, on a real Apache Kafka: written when there is somebody to take them, else counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer

from pipeline.kafka.local.broker import free_port
from pipeline.kafka.producer.aside import MOST, Aside, WrittenAside
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.tasks import Tasks

ChainSettings = Callable[..., Awaitable[Settings]]


class Heard:
    """What was written and lost."""

    def __init__(self) -> None:
        self.written = self.lost = 0
        self.changed = asyncio.Event()

    def __call__(self, event: WrittenAside) -> None:
        """An observer."""
        self.written += event.written
        self.lost += event.lost
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it."""
        async with asyncio.timeout(120):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def record(number: int, size: int = 1) -> OutRecord:
    """One of many."""
    return OutRecord(b"k%d" % number, b"x" * size, (("number", b"%d" % number),))


@pytest.mark.kafka
async def test_what_is_put_is_written(chain_settings: ChainSettings) -> None:
    """With key and headers; one that no topic takes is lost, and those after it go on."""
    settings = await chain_settings(partitions=1)
    heard = Heard()
    aside = Aside(settings, settings.operations_topic, Tasks(), heard, retry_s=0.01)
    await aside.start()
    try:
        for number in range(MOST):
            aside.put(record(number))
        await heard.until(lambda: heard.written == MOST)
        aside.put(record(0, 10_000_000))
        await heard.until(lambda: heard.lost == 1)
        aside.put(record(MOST))
        await heard.until(lambda: heard.written == MOST + 1)
    finally:
        await aside.stop()
    consumer = AIOKafkaConsumer(
        settings.operations_topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            found = [await consumer.getone() for _ in range(MOST + 1)]
    finally:
        await consumer.stop()
    assert {(one.key, one.headers[0]) for one in found} == {
        (b"k%d" % number, ("number", b"%d" % number)) for number in range(MOST + 1)
    }


async def test_too_many_are_lost_and_brokers_that_are_away_hold_nobody() -> None:
    """Memory is bounded; what waits at the stop is counted as lost."""
    settings = Settings.load(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    heard = Heard()
    aside = Aside(settings, "shadow", Tasks(), heard, retry_s=0.01)
    await aside.start()
    for number in range(MOST + 7):
        aside.put(record(number))
    assert heard.lost == 7
    async with asyncio.timeout(60):
        await aside.stop()
    assert (heard.written, heard.lost) == (0, MOST + 7)
