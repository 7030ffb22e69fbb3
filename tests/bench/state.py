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
from pipeline.kafka.murmur2 import partition_of
from pipeline.settings import Settings
from tests.bench import stage
from tests.bench.figures import Figure, median, per
from tests.bench.plan import Run

PARTITIONS: Final = 4
TARGET: Final = 0.75


@dataclass(frozen=True)
class Mapped:
    """What one transform did between its first commit and its last."""

    per_second: float
    cpu_us: float
    rss_mb: float


async def measure(run: Run) -> list[Figure]:
    """Both in turn on the same webhooks; the medians count."""
    broker, directory, payments = run.broker, run.directory, run.sizes.payments
    source = await stage.topics(broker, directory, PARTITIONS)
    run.say(f"writing {payments:,} webhooks")
    await fill(source, payments)
    without: list[Mapped] = []
    with_: list[Mapped] = []
    for number in range(run.sizes.rounds):
        for found, state in ((without, False), (with_, True)):
            run.say(f"round {number + 1}, {'with' if state else 'without'} a state")
            group = f"state-{state}-{number}"
            fresh = await stage.topics(broker, directory, PARTITIONS, state=state, transform_group=group)
            settings = fresh.model_copy(update={"webhooks_topic": source.webhooks_topic})
            found.append(await transformed(settings, directory, payments))
    ratio = median(per(mine.per_second, bare.per_second) for mine, bare in zip(with_, without, strict=True))
    cpu = median(per(bare.cpu_us, mine.cpu_us) for mine, bare in zip(with_, without, strict=True))
    return [
        Figure("state", "transform without a state, webhooks", median(one.per_second for one in without), "/s"),
        Figure("state", "transform with the state, webhooks", median(one.per_second for one in with_), "/s"),
        Figure("state", "with the state, of without", ratio, "x", at_least=TARGET),
        Figure("state", "without, processor time a webhook", median(one.cpu_us for one in without), "µs"),
        Figure("state", "with, processor time a webhook", median(one.cpu_us for one in with_), "µs"),
        Figure("state", "the same by processor time", cpu, "x"),
        Figure("state", "without, largest resident memory", max(one.rss_mb for one in without), "MB"),
        Figure("state", "with, largest resident memory", max(one.rss_mb for one in with_), "MB"),
    ]


async def fill(settings: Settings, payments: int) -> None:
    """Write payments of customers, two each."""
    body = orjson.loads(samples.load("payment.succeeded"))
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", max_batch_size=900_000, linger_ms=0
    )
    await producer.start()
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    pending: list[asyncio.Future[Any]] = []
    try:
        for number in range(payments):
            customer = f"cus_0N{number * 7919 % (payments // 2):020d}"
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


async def transformed(settings: Settings, directory: Path, payments: int) -> Mapped:
    """What one transform does with them."""
    worker = stage.Process.stage(settings, directory, "transform")
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
                if done == payments and first is not None:
                    break
                await asyncio.sleep(0.02)
    finally:
        await worker.stop()
    webhooks = payments - first[2]
    return Mapped(per(webhooks, now - first[0]), per(1e6 * (cpu_s - first[1]), webhooks), most)
