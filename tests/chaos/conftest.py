"""A fleet of worker processes on a real Apache Kafka, traffic for them, and the count of every record."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests.admin import committed
from tests.workers import WorkerProcess

WORKER = Path(__file__).with_name("copy_worker.py")
KEYS = 200
PATIENCE_S = 300.0
"""Limit of every wait; reaching it is a failure, whatever the machine does besides."""

POLL_S = 0.02


@dataclass
class Traffic:
    """Records on their way into the webhooks' topic: per key a rising number."""

    settings: Settings
    per_second: int = 2000
    sent: list[bytes] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> Traffic:
        """Send until `end`."""
        self._task = asyncio.create_task(self._run())
        return self

    async def end(self) -> None:
        """Send no more; everything so far is in the topic."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def burst(self, records: int) -> None:
        """Send so many at once."""
        producer = await self._producer()
        try:
            await self._send(producer, records)
        finally:
            await producer.stop()

    async def _producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        return producer

    async def _run(self) -> None:
        producer = await self._producer()
        try:
            while not self._stop.is_set():
                await self._send(producer, self.per_second // 20)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, records: int) -> None:
        futures = []
        for _ in range(records):
            number = len(self.sent)
            value = b"%d:%d" % (number, number // KEYS)
            self.sent.append(value)
            key = b"customer-%d" % (number % KEYS)
            futures.append(await producer.send(self.settings.webhooks_topic, value, key=key))
        await asyncio.gather(*futures)


@dataclass(frozen=True)
class Count:
    """What arrived of what was sent."""

    missing: int
    repeated: int
    disordered: int
    """Records whose first arrival came after the first arrival of a later record of the same key."""


class Fleet:
    """Workers with the same settings, and what they did."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], directory: Path) -> None:
        self.settings = settings
        self._environment = dict(environment)
        self._directory = directory
        self.workers: list[WorkerProcess] = []

    def start(self, *command: str, instance_id: str = "", **options: str) -> WorkerProcess:
        """One more worker; options are the `COPY_*` variables, `command` replaces the usual one.

        With an `instance_id` it is a static member.
        """
        log = self._directory / f"worker-{len(self.workers)}.log"
        variables = {f"COPY_{name.upper()}": value for name, value in options.items()}
        if instance_id:
            variables["PIPELINE_GROUP_INSTANCE_ID"] = instance_id
        worker = WorkerProcess(
            command or (sys.executable, str(WORKER)),
            {**self._environment, **variables, "PYTHONUNBUFFERED": "1"},
            log,
        )
        self.workers.append(worker)
        return worker

    def traffic(self, per_second: int = 2000) -> Traffic:
        """Traffic for these workers, not yet flowing."""
        return Traffic(self.settings, per_second)

    async def count(self, sent: list[bytes]) -> Count:
        """Wait until everything that was sent is committed by the group, then count the output."""
        await self.caught_up()
        arrived = await self.output()
        numbers = Counter(arrived)
        first = list(dict.fromkeys(arrived))
        latest: dict[int, int] = defaultdict(lambda: -1)
        disordered = 0
        for value in first:
            number, _, sequence = value.partition(b":")
            key = int(number) % KEYS
            disordered += int(sequence) < latest[key]
            latest[key] = max(latest[key], int(sequence))
        return Count(len(set(sent) - numbers.keys()), sum(numbers.values()) - len(numbers), disordered)

    async def output(self) -> list[bytes]:
        """Every value of the output topic; per key in the order of arrival."""
        async with self._reader(self.settings.operations_topic) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            values = []
            while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    values += [record.value for record in records]
            return values

    async def wrote(self, records: int) -> None:
        """Wait until the output topic holds so many records."""
        deadline = time.monotonic() + PATIENCE_S
        while len(await self.output()) < records:
            if time.monotonic() > deadline:
                raise AssertionError(f"never wrote {records} records")
            await asyncio.sleep(POLL_S)

    async def committed(self) -> dict[int, int]:
        """The group's offset of each partition."""
        async with open_admin(self.settings) as admin:
            return await committed(admin, self.settings.transform_group, self.settings.webhooks_topic)

    async def caught_up(self, topic: str = "") -> None:
        """Wait until the group has committed what lies in every partition of the topic (unset: the webhooks') now."""
        deadline = time.monotonic() + PATIENCE_S
        topic = topic or self.settings.webhooks_topic
        async with self._reader(topic) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
        wanted = {partition.partition: end for partition, end in ends.items() if end}
        async with open_admin(self.settings) as admin:
            while True:
                reached = await committed(admin, self.settings.transform_group, topic)
                if all(reached.get(partition, 0) >= end for partition, end in wanted.items()):
                    return
                if time.monotonic() > deadline:
                    logs = "\n\n".join(worker.text[-4000:] for worker in self.workers)
                    raise AssertionError(f"committed {reached}, wanted {wanted}:\n{logs}")
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _reader(self, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            worker.kill()


class Offsets:
    """Watches the committed offsets; each must only ever rise."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.highest: dict[int, int] = {}
        self.fell: list[str] = []
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        settings = self._fleet.settings
        async with open_admin(settings) as admin:
            while True:
                found = await committed(admin, settings.transform_group, settings.webhooks_topic)
                for partition, offset in found.items():
                    highest = self.highest.get(partition, -1)
                    if offset < highest:
                        self.fell.append(f"partition {partition}: {highest} -> {offset}")
                    self.highest[partition] = max(offset, highest)
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.wait({self._task})


@pytest.fixture
async def watch_offsets() -> AsyncIterator[Callable[[Fleet], Offsets]]:
    """Begins to watch a fleet's offsets; ends with the test."""
    watches: list[Offsets] = []

    def watch(fleet: Fleet) -> Offsets:
        watches.append(Offsets(fleet))
        return watches[-1]

    yield watch
    for offsets in watches:
        await offsets.end()


@pytest.fixture
def seed() -> int:
    """Seed of what is random; printed, and given back by CHAOS_SEED."""
    number = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHAOS_SEED={number}")  # noqa: T201 - pytest shows it with a failure
    return number


@pytest.fixture
def make_fleet(
    environment: Callable[[Settings], dict[str, str]], tmp_path: Path
) -> Iterator[Callable[[Settings], Fleet]]:
    """Builder of fleets; their processes end with the test."""
    fleets: list[Fleet] = []

    def make(settings: Settings) -> Fleet:
        fleet = Fleet(settings, environment(settings), tmp_path)
        fleets.append(fleet)
        return fleet

    yield make
    for fleet in fleets:
        fleet.end()


@pytest.fixture
async def fleet(chain_settings: Callable[..., Awaitable[Settings]], make_fleet: Callable[[Settings], Fleet]) -> Fleet:
    """A fleet on topics of its own, with four partitions."""
    return make_fleet(await chain_settings(partitions=4))
