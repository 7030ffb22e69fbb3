"""Dead letters per second when Customer.io refuses everything, from Kafka through one sink into one partition."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.customerio.batch import WRAPPER_BYTES
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests.bench import stage
from tests.bench.figures import Figure
from tests.bench.plan import Run
from tests.bench.server import BareServer, answer

PARTITIONS: Final = 1
"""Of every topic. More only make it faster."""

RATE: Final = 1000.0
TARGET: Final = 5_000.0
ONE_BY_ONE: Final = 2_000
LOOK_S: Final = 0.01


async def measure(run: Run) -> list[Figure]:
    """A sink whose every operation is refused, and the same number of letters sent one by one."""
    letters = run.sizes.letters
    async with BareServer() as server:
        server.answer = _refusal
        settings = await stage.topics(
            run.broker, run.directory, PARTITIONS, customerio_url=server.url, customerio_requests_per_second=RATE
        )
        run.say(f"writing {letters:,} operations")
        servers, topic = settings.kafka_bootstrap_servers, settings.operations_topic
        await stage.fill(servers, topic, PARTITIONS, map(stage.operation, range(letters)))
        sink = stage.Process.stage(settings, run.directory, "sink")
        try:
            together, cpu_us = await _together(settings, sink, server, letters)
        finally:
            await sink.stop()
    alone = await _one_by_one(settings, min(ONE_BY_ONE, letters))
    return [
        Figure("letters", "refused operations to durable dead letters", together, "/s", at_least=TARGET),
        Figure("letters", "processor time a letter", cpu_us, "µs"),
        Figure("letters", "the same records sent one by one", alone, "/s"),
        Figure("letters", "together / one by one", together / alone, "x"),
    ]


@functools.cache
def _refusal(body_bytes: int) -> bytes:
    """A 207 that names every operation of a body of this size."""
    if not body_bytes:
        return answer(200, b"{}\n")  # the question for the region
    size = len(stage.operation(0)[1]) + 1  # with its comma
    error = {"reason": "invalid", "field": "attributes.note", "message": "property value cannot be longer than 1 byte"}
    indexes = range((body_bytes - WRAPPER_BYTES + 1) // size)
    return answer(207, orjson.dumps({"errors": [{"batch_index": index, **error} for index in indexes]}))


async def _together(settings: Settings, sink: stage.Process, server: BareServer, letters: int) -> tuple[float, float]:
    place = TopicPartition(settings.dead_letters_topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        async with asyncio.timeout(stage.PATIENCE_S):
            while not server.arrivals.at:
                sink.check()
                await asyncio.sleep(LOOK_S)
            began, cpu_s = server.arrivals.first_bytes_at[0], sink.cpu_s()
            while (await consumer.end_offsets([place]))[place] < letters:
                sink.check()
                await asyncio.sleep(LOOK_S)
            return letters / (time.monotonic() - began), 1e6 * (sink.cpu_s() - cpu_s) / letters
    finally:
        await consumer.stop()


async def _one_by_one(settings: Settings, letters: int) -> float:
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(settings.dead_letters_topic)
        records = [
            OutRecord(key, value, tuple(headers)) for key, value, headers in map(stage.operation, range(letters))
        ]
        began = time.monotonic()
        await asyncio.gather(*(producer.send(settings.dead_letters_topic, record) for record in records))
        return letters / (time.monotonic() - began)
    finally:
        await producer.stop()
