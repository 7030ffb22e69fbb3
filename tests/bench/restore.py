"""How long a worker needs to know a million customers, and how much memory that takes."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.settings import Settings
from pipeline.transform.customers.facts import SCHEMA_VERSION, encode, key
from tests.asking import local_client
from tests.bench import stage
from tests.bench.figures import Figure, per
from tests.bench.plan import Run

PARTITIONS: Final = 4
AT_MS: Final = 1_790_000_000_000
COLD_S: Final = 60.0
WARM_S: Final = 3.0
RSS_MB: Final = 300.0


def facts_of(partition: int, customers: int, partitions: int = PARTITIONS) -> Iterator[tuple[bytes, bytes]]:
    """Three facts of each of the partition's customers, as they come in: a payment, a subscription, an identity."""
    numbers = list(range(partition, customers, partitions))
    rng = random.Random(partition)
    for kind in range(3):
        rng.shuffle(numbers)
        for number in numbers:
            customer = b"cus_0N%025d" % number
            match kind:
                case 0:
                    fact: list[Any] = [4999, "EUR", AT_MS + number, "new", "card", False, "webhook", []]
                    yield key(customer, "payment", f"pay_0N{number:025d}"), encode(fact)
                case 1:
                    plans = [[1790000000, 0, "pdt_0NExampleProduct01", 4999, "EUR", 1, "Month"]]
                    fact = [1790000000, 0, "active", "2026-10-21T10:00:00Z", False, AT_MS, plans]
                    yield key(customer, "subscription", f"sub_0N{number:025d}"), encode(fact)
                case _:
                    said = [1790000000, 0]
                    fact = [
                        3, 1790000000, "0123456789abcdef", None, [*said, customer.decode(), 0],
                        [*said, f"person{number}@example.com"], [*said, f"Person {number}"], None, [*said, "DE"], {},
                    ]  # fmt: skip
                    yield key(customer, "identity", ""), encode(fact)


async def measure(run: Run) -> list[Figure]:
    """A bare consumer reads the topic; a worker restores it cold; the same again from its mirrors."""
    directory, customers = run.directory, run.sizes.customers
    settings = await stage.topics(run.broker, directory, PARTITIONS, transform_group="restore", port=0)
    run.say(f"writing {3 * customers:,} facts")
    records = await fill(settings, customers)
    bare_s = await _bare(settings, records)
    cold_s, cold_mb = await _ready(settings, directory)
    size = sum(path.stat().st_size for path in settings.data_dir.glob("**/data.mdb"))
    warm_s, warm_mb = await _ready(settings, directory)
    shutil.rmtree(settings.data_dir)
    what = f"{customers:,} customers, {records:,} facts"
    return [
        Figure("restore", f"bare aiokafka consumer, {records:,} records", bare_s, "s"),
        Figure("restore", f"{what}: cold, from process start until ready", cold_s, "s", at_most=COLD_S),
        Figure("restore", "cold, of the bare consumer", per(cold_s, bare_s), "x"),
        Figure("restore", "cold, largest resident memory", cold_mb, "MB", at_most=RSS_MB),
        Figure("restore", "mirrors on the disk", size / 1e6, "MB"),
        Figure("restore", "warm, from process start until ready", warm_s, "s"),
        Figure("restore", "warm, of that the restore", await _restore_s(directory), "s", at_most=WARM_S),
        Figure("restore", "warm, largest resident memory", warm_mb, "MB", at_most=RSS_MB),
    ]


async def fill(settings: Settings, customers: int, partitions: int = PARTITIONS) -> int:
    """Write the facts of so many customers, evenly to all partitions; how many there are."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", max_batch_size=900_000, linger_ms=0
    )
    await producer.start()
    sent = 0
    pending: set[asyncio.Future[Any]] = set()
    try:
        for partition in range(partitions):
            batch = producer.create_batch()
            for name, value in facts_of(partition, customers, partitions):
                fields = {
                    "key": name,
                    "value": value,
                    "timestamp": None,
                    "headers": [("schema-version", b"%d" % SCHEMA_VERSION)],
                }
                if batch.append(**fields) is None:
                    pending.add(await producer.send_batch(batch, settings.customers_topic, partition=partition))
                    batch = producer.create_batch()
                    batch.append(**fields)
                sent += 1
            pending.add(await producer.send_batch(batch, settings.customers_topic, partition=partition))
        await asyncio.gather(*pending)
    finally:
        await producer.stop()
    return sent


async def _bare(settings: Settings, records: int) -> float:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(settings.customers_topic, number) for number in range(PARTITIONS)])
        seen, began = 0, time.perf_counter()
        while seen < records:
            seen += sum(len(found) for found in (await consumer.getmany(timeout_ms=1000)).values())
        return time.perf_counter() - began
    finally:
        await consumer.stop()


async def _ready(settings: Settings, directory: Path) -> tuple[float, float]:
    """Seconds until a new worker says that it is ready, and the most memory it had in MB."""
    began = time.perf_counter()
    worker = stage.Process.stage(settings, directory, "transform")
    most = 0.0
    try:
        async with asyncio.timeout(stage.PATIENCE_S), local_client() as client:
            port = None
            while True:
                worker.check()
                most = max(most, worker.rss_mb())
                port = port or stage.health_port(worker)
                if port and (await client.get(f"http://127.0.0.1:{port}/ready")).is_success:
                    break
                await asyncio.sleep(0.05)
        took_s = time.perf_counter() - began
    finally:
        await worker.stop()
    (directory / "last.log").write_bytes(worker.log.read_bytes())
    return took_s, most


async def _restore_s(directory: Path) -> float:
    lines = (directory / "last.log").read_text(errors="replace").splitlines()
    told = [json.loads(line) for line in lines if "Customers' state restored" in line]
    return float(told[-1]["seconds"])
