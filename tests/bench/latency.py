"""What an idle sink adds to the way of a record: against a bare aiokafka consumer that gets the same record."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench import stage
from tests.bench.figures import Figure, median, p99
from tests.bench.plan import Run
from tests.bench.server import BareServer

WARM_UP: Final = 50
EVERY_S: Final = 0.05
"""Far above what a record takes: each one meets an idle sink."""

PARTITIONS: Final = 4


async def measure(run: Run) -> list[Figure]:
    """One record at a time to both; the difference between request and delivery is what the sink adds."""
    async with BareServer() as server:
        settings = await stage.topics(run.broker, run.directory, PARTITIONS, customerio_url=server.url)
        consumer = AIOKafkaConsumer(
            settings.operations_topic, bootstrap_servers=run.broker.bootstrap_servers, group_id=None,
            auto_offset_reset="latest",
        )  # fmt: skip
        producer = AIOKafkaProducer(bootstrap_servers=run.broker.bootstrap_servers, acks="all")
        await consumer.start()
        for tp in consumer.assignment():
            await consumer.position(tp)  # "latest" is asked for behind `start`: what was sent before would never come
        await producer.start()
        sink = stage.Process.stage(settings, run.directory, "sink")
        try:
            appended, delivered, arrived = await _one_by_one(
                settings.operations_topic, consumer, producer, server, sink, records=run.sizes.samples
            )
        finally:
            await sink.stop()
            await producer.stop()
            await consumer.stop()
    added = [1000 * (at - seen) for seen, at in zip(delivered, arrived, strict=True)]
    bare = [1000 * (seen - began) for began, seen in zip(appended, delivered, strict=True)]
    whole = [1000 * (at - began) for began, at in zip(appended, arrived, strict=True)]
    return [
        Figure("latency", "added by an idle sink, p99", p99(added), "ms", at_most=10.0),
        Figure("latency", "added by an idle sink, median", median(added), "ms"),
        Figure("latency", "append to bare consumer, p99", p99(bare), "ms"),
        Figure("latency", "append to request, p99", p99(whole), "ms"),
    ]


async def _one_by_one(
    topic: str,
    consumer: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    server: BareServer,
    sink: stage.Process,
    *,
    records: int,
) -> tuple[list[float], list[float], list[float]]:
    appended: list[float] = []
    delivered: list[float] = []
    arrived: list[float] = []
    for number in range(-min(WARM_UP, records), records):
        key, value, headers = stage.operation(number % 100_000)
        server.arrivals.clear()
        began = time.monotonic()
        sending = asyncio.ensure_future(producer.send_and_wait(topic, key=key, value=value, headers=headers))
        await consumer.getone()
        seen = time.monotonic()
        async with asyncio.timeout(stage.PATIENCE_S):
            while not server.arrivals.at:
                sink.check()
                server.arrivals.more.clear()
                await server.arrivals.more.wait()
        await sending
        if number >= 0:
            appended.append(began)
            delivered.append(seen)
            arrived.append(server.arrivals.first_bytes_at[0])
        await asyncio.sleep(EVERY_S)
    return appended, delivered, arrived
