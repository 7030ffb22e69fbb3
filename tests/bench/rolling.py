"""A rolling restart of transforms that know a million customers: how long webhooks wait, with and without names.

With a name of its own (`PIPELINE_GROUP_INSTANCE_ID`) a replica that was stopped keeps its partitions until it is back;
without one the others take them, and read what they do not know of their customers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import RECEIVED_AT, SOURCE, int_header, text_header
from pipeline.settings import Settings
from tests.bench import restore, stage
from tests.bench.figures import Figure, median, per
from tests.bench.payments import Payments
from tests.bench.plan import Run

PARTITIONS: Final = 6
RATE: Final = 60.0
"""Webhooks a second: ten of each partition, so that a partition that stands still is seen within a tenth of a second,
and far below what one replica maps."""

NAMED_SESSION_S: Final = 60.0
"""As docs/operating.md and the manifests have it for workers with names."""

STANDS_S: Final = 1.0
"""A webhook that waited for longer lay in a partition that stood still."""

WARM_UP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Passed:
    """One webhook: its partition, when it was written, and when its first operation was; unix seconds."""

    partition: int
    came: float
    went: float


@dataclass(frozen=True, slots=True)
class Rolled:
    """What one rolling restart did to the webhooks.

    Attributes:
        missing: webhooks without an operation.
        longest_s: that any of them waited.
        stood_s: by partition, how long it stood still in all.
        late: share of the webhooks that waited longer than `STANDS_S`.
        took_s: from the first stop until the last replica was ready again.
    """

    missing: int
    longest_s: float
    stood_s: Sequence[float]
    late: float
    took_s: float


def stood(passed: Iterable[Passed], partition: int) -> float:
    """Seconds in which webhooks waited in `partition` that had to wait longer than `STANDS_S`."""
    total, until = 0.0, float("-inf")
    for one in sorted((one for one in passed if one.partition == partition), key=lambda one: one.came):
        if one.went - one.came > STANDS_S and one.went > until:
            total += one.went - max(one.came, until)
            until = one.went
    return total


async def measure(run: Run) -> list[Figure]:
    """The same chain twice over the same facts, without names and with: those with names would stay in the group."""
    customers, replicas = run.sizes.customers, run.sizes.replicas
    settings = await stage.topics(run.broker, run.directory, PARTITIONS)
    run.say(f"writing {3 * customers:,} facts")
    await restore.fill(settings, customers, PARTITIONS)
    payments = Payments()
    figures: list[Figure] = []
    sent = 0
    for named in (False, True):
        rolled, sent = await _roll(run, settings, payments, sent, named=named)
        how = f"{replicas} replicas, {customers:,} customers, {'with' if named else 'without'} names"
        figures += [
            Figure("rolling", f"{how}: longest wait of a webhook", rolled.longest_s, "s"),
            Figure("rolling", f"{how}: a partition stands still for, median", median(rolled.stood_s), "s"),
            Figure("rolling", f"{how}: all partitions together", sum(rolled.stood_s), "s"),
            Figure("rolling", f"{how}: webhooks that waited longer than {STANDS_S:g} s", rolled.late * 100, "%"),
            Figure("rolling", f"{how}: the whole restart", rolled.took_s, "s"),
            Figure("rolling", f"{how}: webhooks without an operation", rolled.missing, "", at_most=0),
        ]
    return figures


async def _roll(run: Run, settings: Settings, payments: Payments, first: int, *, named: bool) -> tuple[Rolled, int]:
    """Replicas under traffic, each stopped and started once; the number of the next payment as well."""
    replicas: list[stage.Process] = []
    try:
        replicas += [_start(run.directory, settings, number, named=named) for number in range(run.sizes.replicas)]
        await asyncio.gather(*map(stage.until_ready, replicas))
        traffic = Traffic(settings, payments, first)
        flowing = asyncio.create_task(traffic.flow())
        try:
            await asyncio.sleep(WARM_UP_S)
            began = time.monotonic()
            for number, replica in enumerate(replicas):
                run.say(f"{'with' if named else 'without'} names: restarting replica {number + 1}")
                await replica.stop()
                await asyncio.sleep(run.sizes.restart_seconds)
                replicas[number] = _start(run.directory, settings, number, named=named)
                await stage.until_ready(replicas[number])
            took_s = time.monotonic() - began
            await asyncio.sleep(WARM_UP_S)
        finally:
            traffic.ends.set()
            await flowing
        passed = await _passed(settings, replicas, traffic.starts, traffic.count)
    finally:
        await asyncio.gather(*(replica.stop() for replica in replicas))
    waits = [one.went - one.came for one in passed]
    rolled = Rolled(
        missing=traffic.count - len(passed),
        longest_s=max(waits, default=float("nan")),
        stood_s=[stood(passed, partition) for partition in range(PARTITIONS)],
        late=per(sum(wait > STANDS_S for wait in waits), len(waits)),
        took_s=took_s,
    )
    return rolled, first + traffic.count


def _start(directory: Path, settings: Settings, number: int, *, named: bool) -> stage.Process:
    own = settings.model_copy(
        update={
            "data_dir": settings.data_dir / str(number),
            "group_instance_id": f"transform-{number}" if named else None,
            "session_timeout_seconds": NAMED_SESSION_S if named else settings.session_timeout_seconds,
        }
    )
    return stage.Process.stage(own, directory, "transform")


class Traffic:
    """Payments at an even pace, from one number on, until `ends` is set.

    Attributes:
        starts: offsets of the operations at which its own begin.
        count: how many were written.
    """

    def __init__(self, settings: Settings, payments: Payments, first: int) -> None:
        self.starts: dict[TopicPartition, int] = {}
        self.count = 0
        self.ends = asyncio.Event()
        self._settings = settings
        self._payments = payments
        self._first = first

    async def flow(self) -> None:
        """Write, each at its time."""
        self.starts = await _ends(self._settings)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers, acks="all", enable_idempotence=True
        )
        await producer.start()
        began = time.monotonic()
        try:
            while not self.ends.is_set():
                key, value, headers = self._payments.record(self._first + self.count)
                headers = [(name, text) for name, text in headers if name != RECEIVED_AT]
                headers.append((RECEIVED_AT, b"%d" % (time.time_ns() // 1_000_000)))
                topic, partition = self._settings.webhooks_topic, partition_of(key, PARTITIONS)
                await producer.send(topic, value, key=key, partition=partition, headers=headers)
                self.count += 1
                await asyncio.sleep(max(0.0, began + self.count / RATE - time.monotonic()))
        finally:
            await producer.stop()


async def _ends(settings: Settings) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    try:
        tps = [TopicPartition(settings.operations_topic, number) for number in range(PARTITIONS)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return ends
    finally:
        await consumer.stop()


async def _passed(
    settings: Settings, replicas: Iterable[stage.Process], starts: dict[TopicPartition, int], count: int
) -> list[Passed]:
    """The first operation of each webhook, as they come; waits for all of them."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: dict[str, Passed] = {}
    until = time.monotonic() + stage.PATIENCE_S
    try:
        consumer.assign(list(starts))
        for tp, offset in starts.items():
            consumer.seek(tp, offset)
        while len(found) < count and time.monotonic() < until:
            for replica in replicas:
                replica.check()
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    source = text_header(record.headers, SOURCE) or ""
                    came_ms = int_header(record.headers, RECEIVED_AT) or 0
                    partition = int(source.split("/")[1])
                    found.setdefault(source, Passed(partition, came_ms / 1000, record.timestamp / 1000))
    finally:
        await consumer.stop()
    return list(found.values())
