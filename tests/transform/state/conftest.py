"""Stores on a real Apache Kafka, and what lies in the customers' topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from pipeline.kafka.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.kafka.topics import check_topics
from pipeline.settings import Settings
from pipeline.transform.state.events import MirrorStartedAnew, RestoreAdvanced, StateEvent, StateRestored
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.store import HEADERS, Store

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


async def facts_of(settings: Settings) -> list[Fact]:
    """Every record of the customers' topic, by partition and offset."""
    partitions = (await check_topics(settings, [settings.customers_topic]))[settings.customers_topic]
    tps = [TopicPartition(settings.customers_topic, number) for number in range(partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: list[Fact] = []
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        left = {tp for tp in tps if ends[tp]}
        while left:
            for tp, records in (await consumer.getmany(*left, timeout_ms=200)).items():
                found += [Fact(tp.partition, r.offset, r.key, r.value, tuple(r.headers)) for r in records]
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return sorted(found, key=lambda fact: (fact.partition, fact.offset))


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
