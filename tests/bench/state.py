"""What the customers' state costs: the same webhooks through a transform without it, and with it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.dodo import samples
from pipeline.kafka.admin import open_admin
from pipeline.kafka.local import LocalKafka
from pipeline.kafka.murmur2 import partition_of
from pipeline.settings import Settings
from tests.bench import stage
from tests.bench.figures import Figure

WEBHOOKS: Final = 100_000
CUSTOMERS: Final = 50_000
PARTITIONS: Final = 4
ROUNDS: Final = 2
TARGET: Final = 0.75


@dataclass(frozen=True)
class Run:
    """What one transform did between its first commit and its last."""

    per_second: float
    cpu_us: float
    rss_mb: float


async def measure(broker: LocalKafka, directory: Path) -> list[Figure]:
    """Both in turn, twice, on the same webhooks; the better run of each counts."""
    source = await stage.topics(broker, directory, PARTITIONS)
    await _fill(source)
    without: list[Run] = []
    with_: list[Run] = []
    for number in range(ROUNDS):
        for runs, state in ((without, False), (with_, True)):
            fresh = await stage.topics(
                broker, directory, PARTITIONS, state=state, transform_group=f"state-{state}-{number}"
            )
            runs.append(await _run(fresh.model_copy(update={"webhooks_topic": source.webhooks_topic}), directory))
    best, cost = max(without, key=lambda run: run.per_second), max(with_, key=lambda run: run.per_second)
    return [
        Figure("state", "transform without a state, webhooks", best.per_second, "/s"),
        Figure("state", "transform with the state, webhooks", cost.per_second, "/s"),
        Figure("state", "with the state, of without", cost.per_second / best.per_second, "x", at_least=TARGET),
        Figure("state", "without, processor time a webhook", best.cpu_us, "µs"),
        Figure("state", "with, processor time a webhook", cost.cpu_us, "µs"),
        Figure("state", "without, largest resident memory", best.rss_mb, "MB"),
        Figure("state", "with, largest resident memory", cost.rss_mb, "MB"),
    ]


async def _fill(settings: Settings) -> None:
    body = orjson.loads(samples.load("payment.succeeded"))
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", max_batch_size=900_000, linger_ms=0
    )
    await producer.start()
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    pending: list[asyncio.Future[Any]] = []
    try:
        for number in range(WEBHOOKS):
            customer = f"cus_0N{number * 7919 % CUSTOMERS:020d}"
            body["data"]["payment_id"] = f"pay_0N{number:020d}"
            body["data"]["customer"]["customer_id"] = customer
            key = customer.encode()
            fields = {
                "key": key,
                "value": orjson.dumps(body),
                "timestamp": None,
                "headers": [("webhook-id", b"msg_%020d" % number), ("webhook-timestamp", b"1790000000")],
            }
            partition = partition_of(key, PARTITIONS)
            if batches[partition].append(**fields) is None:
                pending.append(
                    await producer.send_batch(batches[partition], settings.webhooks_topic, partition=partition)
                )
                batches[partition] = producer.create_batch()
                batches[partition].append(**fields)
        for partition, batch in enumerate(batches):
            pending.append(await producer.send_batch(batch, settings.webhooks_topic, partition=partition))
        await asyncio.gather(*pending)
    finally:
        await producer.stop()


async def _run(settings: Settings, directory: Path) -> Run:
    worker = stage.Process(settings, directory, "transform")
    tps = [TopicPartition(settings.webhooks_topic, number) for number in range(PARTITIONS)]
    first: tuple[float, float, int] | None = None
    most = 0.0
    try:
        async with open_admin(settings) as admin, asyncio.timeout(stage.PATIENCE_S):
            while True:
                worker.check()
                committed = await admin.committed(settings.transform_group, tps)
                done = sum(offset or 0 for offset in committed.values())
                now, cpu_s = time.perf_counter(), worker.cpu_s()
                most = max(most, worker.rss_mb())
                if done and first is None:
                    first = (now, cpu_s, done)
                if done == WEBHOOKS and first is not None:
                    break
                await asyncio.sleep(0.02)
    finally:
        await worker.stop()
    webhooks = WEBHOOKS - first[2]
    return Run(webhooks / (now - first[0]), 1e6 * (cpu_s - first[1]) / webhooks, most)
