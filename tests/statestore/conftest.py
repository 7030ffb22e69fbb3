"""State stores on a real Apache Kafka, and what lies in their changelog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.statestore.events import RestoreAdvanced, StateEvent, StateRestored, StoreStartedAnew
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.customers.schema import CUSTOMERS


@dataclass
class Owner:
    """A store that owns partitions, as a worker's does."""

    settings: Settings
    producer: BatchProducer
    stores: PartitionStores
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
        await self.stores.restore({TP(self.settings.webhooks_topic, number) for number in partitions}, 1)
        self.stores.keep(partitions)

    async def writes(self, partition: int, facts: dict[bytes, bytes | None], customer: bytes = b"") -> None:
        """One chunk's facts, durable and stored, with a derived value for `customer`."""
        store = self.stores.store(partition)
        for key, value in facts.items():
            store.put(key, value)
        if customer:
            store.put_derived(customer, b"derived")
        await self.flushes(partition)

    async def flushes(self, partition: int) -> None:
        """What is pending is sealed, sent, committed and written to the local store."""
        store, topic = self.stores.store(partition), self.settings.customers_topic
        writes = store.seal()
        if not writes:
            return
        chunk = self.producer.chunk()
        for key, value in writes.changes():
            chunk.append(topic, partition, OutRecord(key, value, CUSTOMERS.headers))
        await chunk.send()
        store.commit([writes], [chunk.offsets(topic, partition) if writes.values else None])
        store.flush()

    def store(self, partition: int) -> TransactionalStore:
        """The facts of a partition."""
        return self.stores.store(partition)

    @property
    def records_read(self) -> int:
        """Of the last restore."""
        return next(event.records for event in reversed(self.told) if isinstance(event, StateRestored))

    @property
    def started_anew(self) -> list[str]:
        """Why mirrors were built anew."""
        return [event.why for event in self.told if isinstance(event, StoreStartedAnew)]


@asynccontextmanager
async def owner(settings: Settings) -> AsyncIterator[Owner]:
    """A worker's store and producer, without the worker."""
    producer = BatchProducer(settings)
    await producer.start()
    stores = PartitionStores(settings, CUSTOMERS, producer, lambda event: found.hears(event))  # noqa: PLW0108 - it comes later
    found = Owner(settings, producer, stores)
    try:
        await producer.prime(settings.customers_topic)
        await stores.start()
        yield found
    finally:
        await stores.stop()
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
