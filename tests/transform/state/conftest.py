"""Stores on a real Apache Kafka, and what lies in the customers' topic."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from faust.types import TP

from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.simulator import Shop
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord, text_header
from pipeline.settings import Settings
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.state.events import MirrorStartedAnew, RestoreAdvanced, StateEvent, StateRestored
from pipeline.transform.state.headers import HEADERS
from pipeline.transform.state.mirror import Mirror
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.shelf import MemoryShelf
from pipeline.transform.state.store import Store
from pipeline.transform.verdicts import Operations
from tests.admin import admin_client
from tests.asking import local_client

ChainSettings = Callable[..., Awaitable[Settings]]


@dataclass
class Owner:
    """A store that owns partitions, as a worker's does."""

    settings: Settings
    producer: BatchProducer
    store: Store
    told: list[StateEvent] = field(default_factory=list)
    advanced: asyncio.Event = field(default_factory=asyncio.Event)
    """A restore has taken something in."""

    def hears(self, event: StateEvent) -> None:
        """What happened."""
        self.told.append(event)
        if isinstance(event, RestoreAdvanced):
            self.advanced.set()

    async def owns(self, *partitions: int) -> None:
        """They were assigned, and are restored."""
        await self.store.restore({TP(self.settings.webhooks_topic, number) for number in partitions}, 1)
        self.store.keep(partitions)

    async def writes(self, partition: int, facts: dict[bytes, bytes | None], customer: bytes = b"") -> None:
        """One chunk's facts, durable and stored, with a sheet for `customer`."""
        shelf = self.store.shelf(partition)
        for key, value in facts.items():
            shelf.put(key, value)
        if customer:
            shelf.keep(customer, b"sheet")
        await self.flushes(partition)

    async def flushes(self, partition: int) -> None:
        """What is pending is sealed, sent and stored."""
        shelf, topic = self.store.shelf(partition), self.settings.customers_topic
        writes = shelf.seal()
        if not writes:
            return
        chunk = self.producer.chunk()
        for key, value in writes.facts.items():
            chunk.append(topic, partition, OutRecord(key, value, HEADERS))
        await chunk.send()
        shelf.store([writes], [chunk.offsets(topic, partition) if writes.facts else None])

    def shelf(self, partition: int) -> MirroredShelf:
        """The facts of a partition."""
        return self.store.shelf(partition)

    @property
    def records_read(self) -> int:
        """Of the last restore."""
        return next(event.records for event in reversed(self.told) if isinstance(event, StateRestored))

    @property
    def started_anew(self) -> list[str]:
        """Why mirrors were built anew."""
        return [event.why for event in self.told if isinstance(event, MirrorStartedAnew)]


@asynccontextmanager
async def owner(settings: Settings) -> AsyncIterator[Owner]:
    """A worker's store and producer, without the worker."""
    producer = BatchProducer(settings)
    await producer.start()
    store = Store(settings, producer, lambda event: found.hears(event))  # noqa: PLW0108 - it comes later
    found = Owner(settings, producer, store)
    try:
        await producer.prime(settings.customers_topic)
        await store.start()
        yield found
    finally:
        await store.stop()
        await producer.stop()


@pytest.fixture
def own() -> Callable[[Settings], AbstractAsyncContextManager[Owner]]:
    """Makes an owner of some settings for a while."""
    return owner


@dataclass(frozen=True)
class Fact:
    """A record of the customers' topic."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


async def records_of(settings: Settings, topic: str) -> list[Any]:
    """Every record that lies in a topic now, by partition and offset."""
    partitions = (await check_topics(settings, [topic]))[topic]
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: list[Any] = []
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        left = {tp for tp in tps if ends[tp]}
        while left:
            for records in (await consumer.getmany(*left, timeout_ms=200)).values():
                found += records
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def facts_of(settings: Settings) -> list[Fact]:
    """Every record of the customers' topic, by partition and offset."""
    return [
        Fact(record.partition, record.offset, record.key, record.value, tuple(record.headers))
        for record in await records_of(settings, settings.customers_topic)
    ]


def latest(facts: Iterable[Fact]) -> dict[tuple[int, bytes], bytes]:
    """What compaction would leave: the last value of each key, without tombstones."""
    values = {(fact.partition, fact.key): fact.value for fact in facts}
    return {place: value for place, value in values.items() if value is not None}


async def put_facts(settings: Settings, partition: int, facts: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Records that somebody else writes into the customers' topic."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for key, value in facts:
            await producer.send(settings.customers_topic, value, key=key, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.fixture
def facts_in() -> Callable[[Settings], Awaitable[list[Fact]]]:
    """Reads the records of the customers' topic."""
    return facts_of


@pytest.fixture
def put() -> Callable[..., Awaitable[None]]:
    """Writes facts of a partition as somebody else."""
    return put_facts


# --- whole workers ----------------------------------------------------------------------------------------------------

FAULTY = Path(__file__).with_name("faulty_worker.py")
DODO_CIO = (sys.executable, "-m", "pipeline", "transform")
PATIENCE_S = 300.0


class Worker:
    """A transform in a process of its own; its log lines are JSON."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, env=dict(environ), stdout=stream, stderr=stream, cwd=log.parent)

    @property
    def text(self) -> str:
        """Everything that it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def place(self) -> int:
        """The end of what it said so far: a wait for what it says next begins here."""
        return len(self.text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it while the process lives."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert self.process.poll() is None, self.text[-6000:]
                await asyncio.sleep(0.03)

    async def says(self, *parts: str, since: int = 0) -> None:
        """Wait until a line behind the place `since` has all of it: what an earlier generation said is no answer."""
        await self.until(lambda: any(all(part in line for part in parts) for line in self.text[since:].splitlines()))

    async def owns(self, partitions: int, since: int = 0) -> None:
        """Wait until it said that so many partitions were assigned."""
        await self.says('"Partitions assigned"', f'"partitions": {partitions},', since=since)

    async def get(self, path: str) -> dict[str, Any]:
        """An answer of the health port."""
        await self.says('"health listening"')
        lines = [json.loads(line) for line in self.text.splitlines() if '"health listening"' in line]
        async with local_client() as client:
            answer = (await client.get(f"http://127.0.0.1:{lines[0]['port']}{path}")).json()
            assert isinstance(answer, dict)
            return answer

    async def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(self.process.wait)

    async def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


class Fleet:
    """Workers of one chain."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], directory: Path) -> None:
        self.settings = settings
        self._environ = {**environ, "PIPELINE_LOG_FORMAT": "json"}
        self._directory = directory
        self.workers: list[Worker] = []

    def start(self, *, step: str = "", count: int = 1, what: str = "SIGKILL", **environ: str) -> Worker:
        """One more; with a `step`, it gets the signal `what` at the `count`-th time that it comes there."""
        command = (sys.executable, str(FAULTY), step, str(count), what) if step else DODO_CIO
        log = self._directory / f"worker-{len(self.workers)}.log"
        self.workers.append(Worker(command, {**self._environ, **environ}, log))
        return self.workers[-1]

    async def evict(self) -> None:
        """Let the group forget its dead members now, instead of after their session."""
        group = self.settings.transform_group
        async with admin_client(self.settings) as client:
            node = await client.find_coordinator(group)
            answer = await client._send_request(
                DescribeGroupsRequest([group], include_authorized_operations=False), node
            )
            for member in answer.to_object()["groups"][0]["members"]:
                await client._send_request(LeaveGroupRequest(group, member["member_id"]), node)

    async def caught_up(self) -> None:
        """Wait until the group has committed the end of every partition of the webhooks."""
        topic = self.settings.webhooks_topic
        partitions = (await check_topics(self.settings, [topic]))[topic]
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap_servers, group_id=None)
        await consumer.start()
        try:
            ends = {tp: end for tp, end in (await consumer.end_offsets(tps)).items() if end}
        finally:
            await consumer.stop()
        async with open_admin(self.settings) as admin, asyncio.timeout(PATIENCE_S):
            while True:
                committed = await admin.committed(self.settings.transform_group, list(ends))
                if all((committed.get(tp) or 0) >= end for tp, end in ends.items()):
                    return
                assert any(worker.process.poll() is None for worker in self.workers), self.last_words
                await asyncio.sleep(0.05)

    @property
    def last_words(self) -> str:
        """How each worker ended: of one that should not have, the others' logs say nothing."""
        return "\n\n".join(f"exit code {worker.process.poll()}: {worker.text[-6000:]}" for worker in self.workers)

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()


@pytest.fixture
def make_fleet(
    environment: Callable[[Settings], dict[str, str]], tmp_path: Path
) -> Iterator[Callable[[Settings], Fleet]]:
    """Makes the fleet of a chain; its processes end with the test."""
    fleets: list[Fleet] = []

    def make(settings: Settings) -> Fleet:
        directory = tmp_path / f"fleet-{len(fleets)}"
        directory.mkdir()
        fleets.append(Fleet(settings, environment(settings), directory))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


OF_MONEY = {"payment_completed", "refund_succeeded"}
"""Events with an id of their own fact: the same in every order."""


class ShopTraffic:
    """A generated shop's deliveries in the webhooks' topic, and its own books.

    `events` are the op-ids of the events that they become in a worker that nothing ever happens to, `payments` those
    of them that a payment or refund is told by; `records` is what was written.
    """

    def __init__(self, settings: Settings, seed: int, partitions: int) -> None:
        self.settings = settings
        self.shop = Shop(seed, datetime(2026, 11, 1, tzinfo=UTC))
        self.events: set[str] = set()
        self.payments: set[str] = set()
        self.records: list[OutRecord] = []
        self.partitions = partitions
        self._shelf = MemoryShelf(int(time.time() * 1000))
        self._policy = Policy.of(settings)

    @property
    def spent(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Customer → currency → (paid, refunded), as the shop's books have it."""
        return self.shop.ledger.spent

    async def deliver(self, count: int, place: Callable[[bytes], tuple[bytes | None, int]] | None = None) -> None:
        """So many deliveries, forged ones aside, as ingest would write them, or with the key and partition of `place`.

        `place` is given the key that ingest would take.
        """
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, linger_ms=5)
        await producer.start()
        try:
            sends = []
            for delivery in self.shop.deliveries(count):
                if delivery.kind in {"forged", "unreadable"}:
                    continue
                key = kafka_key(parse(delivery.body), delivery.webhook_id)
                headers = [
                    ("webhook-id", delivery.webhook_id.encode()),
                    ("webhook-timestamp", b"%d" % delivery.timestamp),
                    ("received-at", b"%d" % (delivery.timestamp * 1000 + 250)),
                ]
                topic, partition = self.settings.webhooks_topic, partition_of(key, self.partitions)
                written, where = (key, partition) if place is None else place(key)
                self.records.append(OutRecord(key, delivery.body, tuple(headers)))
                sends.append(await producer.send(topic, delivery.body, key=written, headers=headers, partition=where))
                record = FetchedRecord(topic, partition, 0, 0, 0, key, delivery.body, headers)
                verdict = decide(record, self._policy, map_webhook, self._shelf).verdict
                if isinstance(verdict, Operations):
                    self.events |= {one.op_id for one in verdict.operations if one.kind == "event"}
                    self.payments |= {one.op_id for one in verdict.operations if one.name in OF_MONEY}
            await asyncio.gather(*sends)
        finally:
            await producer.stop()


@pytest.fixture
def make_shop() -> Callable[[Settings, int, int], ShopTraffic]:
    """Makes a shop of some seed, for so many partitions."""
    return ShopTraffic


def totals_of(values: Mapping[tuple[int, bytes], bytes]) -> dict[str, dict[str, tuple[int, int]]]:
    """Customer → currency → (paid, refunded): a plain sum over facts, without what is nothing."""
    payments: dict[tuple[bytes, bytes], tuple[int, str]] = {}
    refunds: dict[tuple[bytes, bytes], list[int | None]] = {}
    for (_, key), value in values.items():
        customer, kind, payment, *_ = key.split(b"\0")
        if kind == b"payment":
            minor, currency, *_ = json.loads(value)
            payments[customer, payment] = (minor, currency)
        elif kind == b"refund":
            refunds.setdefault((customer, payment), []).append(json.loads(value)[0])
    totals: dict[str, dict[str, tuple[int, int]]] = {}
    for (customer, payment), (minor, currency) in payments.items():
        back = refunds.get((customer, payment), [])
        told = sum(amount for amount in back if amount is not None)
        refunded = minor if None in back else told  # without an amount it is all that is left
        purse = totals.setdefault(customer.decode(), {})
        paid, returned = purse.get(currency, (0, 0))
        purse[currency] = (paid + minor, returned + refunded)
    return {
        customer: kept
        for customer, purse in totals.items()
        if (kept := {currency: sums for currency, sums in purse.items() if sums != (0, 0)})
    }


async def sent_of(settings: Settings) -> list[tuple[dict[str, Any], str]]:
    """Every operation with its `op-id`, in the order of sending."""
    records = await records_of(settings, settings.operations_topic)
    return [
        (json.loads(r.value), text_header(r.headers, "op-id") or "")
        for r in sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))
    ]


async def operations_of(settings: Settings) -> list[tuple[str, str]]:
    """Action and `op-id` of every operation, in the order of sending."""
    return [(operation["action"], op_id) for operation, op_id in await sent_of(settings)]


@pytest.fixture
def sent() -> Callable[[Settings], Awaitable[list[tuple[dict[str, Any], str]]]]:
    """Reads the operations back."""
    return sent_of


@dataclass(frozen=True)
class Books:
    """What became of a shop's deliveries."""

    totals: dict[str, dict[str, tuple[int, int]]]
    """By the latest facts of the topic."""

    facts: int
    """Records in the customers' topic."""

    events: set[str]
    mirrored: bool
    """Every mirror that was found on the disk equals the topic."""


async def books_of(settings: Settings, partitions: int) -> Books:
    """Read everything back, once all workers have ended."""
    facts = await facts_of(settings)
    values = latest(facts)
    mirrored = True
    for partition in range(partitions):
        mirror = Mirror.open(settings.data_dir / "state", settings.customers_topic, partition)
        stored = {(partition, key): value for key, value in mirror.scan(b"")}
        mirror.close()
        mirrored &= stored == {place: value for place, value in values.items() if place[0] == partition}
    operations = await operations_of(settings)
    return Books(totals_of(values), len(facts), {op_id for action, op_id in operations if action == "event"}, mirrored)


@pytest.fixture
def read_books() -> Callable[[Settings, int], Awaitable[Books]]:
    """Reads back what became of a shop's deliveries."""
    return books_of
