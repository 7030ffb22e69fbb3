"""Writing local mirrors back into a topic that lost what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import InputError, StateError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.statestore.changelog import Changelog
from pipeline.statestore.changes import BEGAN, News, collapse
from pipeline.statestore.directory import DATA
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.partitions import DIRECTORY
from pipeline.transform.customers.facts import merge_at
from pipeline.transform.customers.lacking import lacking
from pipeline.transform.customers.schema import CUSTOMERS

BATCH_RECORDS: Final = 1000
"""Facts of one request to the brokers."""

WRITTEN_BACK: Final = "it was written back to the topic"

Progress = Callable[[int], None]
"""`progress(facts)`: so many more are durable."""


@dataclass(frozen=True, slots=True)
class PartitionReturn:
    """What a mirror holds, what its topic's partition holds, and what has to be written for the topic to hold all."""

    partition: int
    facts: int
    records: int
    missing: int


def partitions_on_disk(settings: Settings) -> list[int]:
    """The partitions of which there are mirrors in the data directory."""
    base = settings.data_dir / DIRECTORY / settings.customers_topic
    names = (data.parent.name for data in base.glob(f"*-0/{DATA}"))
    return sorted(int(name) for name in (name.removesuffix("-0") for name in names) if name.isdigit())


async def check(settings: Settings, partitions: list[int]) -> None:
    """What must hold before anything is compared: the topic takes these partitions, and nobody writes to it.

    Raises:
        TopicError: the topic is missing, or has fewer partitions.
        InputError: the transform's group has members.
    """
    topic = settings.customers_topic
    count = (await check_topics(settings, [topic]))[topic]
    if partitions and partitions[-1] >= count:
        raise TopicError(
            f"topic {topic} has {count} partitions, and there is a mirror of partition {partitions[-1]}: create it "
            "with as many partitions as it had"
        )
    async with open_admin(settings) as admin:
        state = await admin.group_state(settings.transform_group)
    if state.members:
        raise InputError(
            f"consumer group {settings.transform_group} has {state.members} members: stop every transform first; they "
            "would write to the same topic"
        )


@contextmanager
def opened(settings: Settings, partitions: list[int]) -> Iterator[dict[int, LmdbStore]]:
    """The mirrors of these partitions.

    Raises:
        InputError: another process uses one.
        StateError: one cannot be trusted, and was given up when it was opened.
        SettingsError: the directory cannot be used.
    """
    base = settings.data_dir / DIRECTORY
    stores: dict[int, LmdbStore] = {}
    with ExitStack() as stack:
        for number in partitions:
            store = LmdbStore.open(base, settings.customers_topic, number, CUSTOMERS)
            stack.callback(store.close)
            if not store.is_first:
                raise InputError(f"the mirror of partition {number} is in use by another process: stop the transform")
            if store.why_empty is not None:
                raise StateError(f"the mirror of partition {number} cannot be used: {store.why_empty}")
            stores[number] = store
        yield stores


async def compare(
    settings: Settings, stores: dict[int, LmdbStore]
) -> dict[int, tuple[PartitionReturn, dict[bytes, bytes | None]]]:
    """By partition what is to be written, and how much that is.

    Raises:
        TopicError: the topic cannot be read.
        KafkaError, BrokerUnreachableError: the brokers did not answer.
    """
    found: dict[int, tuple[PartitionReturn, dict[bytes, bytes | None]]] = {}
    for number, store in stores.items():
        topic: dict[bytes, News] = {}
        records = 0
        async with Changelog.open(settings, frozenset({number}), CUSTOMERS) as changelog:
            span = (await changelog.bounds())[number]
            async for piece in changelog.read({number: span}):
                records += len(piece.changes)
                _take(topic, [change for change in piece.changes if change[0]])
        missing = lacking(store.scan(b""), topic)
        found[number] = PartitionReturn(number, store.count, records, len(missing)), missing
    return found


def _take(topic: dict[bytes, News], changes: list[tuple[bytes, bytes | None]]) -> None:
    for key, news in collapse(changes, merge_at).items():
        known = topic.get(key)
        if known is None or news.anew or known.value is None or news.value is None:
            topic[key] = news
        else:
            topic[key] = News(merge_at(key, known.value, news.value), news.latest, known.anew)


async def write(settings: Settings, store: LmdbStore, missing: dict[bytes, bytes | None], progress: Progress) -> None:
    """Write what is missing of one partition, and give the mirror up once all of it is durable.

    Stopped in between, the next run writes the rest: the mirror stays until the end. The moment when the state began
    comes first, then tombstones: the mark of who was forgotten must not be there before them.

    Raises:
        DeliveryError, TopicError: the topic does not take it.
    """
    topic, number = settings.customers_topic, store.partition
    ordered = sorted(missing, key=lambda key: (key != BEGAN, missing[key] is not None, key))
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(topic)
        for start in range(0, len(ordered), BATCH_RECORDS):
            keys = ordered[start : start + BATCH_RECORDS]
            chunk = producer.chunk()
            for key in keys:
                chunk.append(topic, number, OutRecord(key, missing[key], CUSTOMERS.headers))
            await chunk.send()
            progress(len(keys))
    finally:
        await producer.stop()
    if missing:
        await asyncio.to_thread(store.start_anew, WRITTEN_BACK)  # its offsets are those of the topic before


def directory_of(settings: Settings) -> Path:
    """Where the mirrors of this place lie."""
    return settings.data_dir / DIRECTORY / settings.customers_topic
