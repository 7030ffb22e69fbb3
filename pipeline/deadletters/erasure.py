"""Removes letters about a person from the dead-letter topic, though Kafka cannot delete single records.

Where the topic deletes by age (`cleanup.policy=delete`, as `topics apply` makes it), a partition that holds such a
letter is rewritten: everything else in it is appended again, in its order, and when that is durable, all that was there
before is deleted (Kafka's DeleteRecords). So the others have new offsets, and their retention begins anew. If it is
interrupted, nothing is lost, and the same command continues: what is there twice by then is copied once.

Where a platform made the topic compacted, a tombstone is written under the letter's key; the letter is gone when the
broker compacts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from pipeline.deadletters.forgotten import SINK, telling_of
from pipeline.deadletters.letter import Letter, Place, read_letter
from pipeline.deadletters.reader import LetterReader
from pipeline.deadletters.receipts import read_receipt
from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.producer.sending import Producer
from pipeline.kafka.records import DLQ_STAGE, DODO_COMMAND, OutRecord, Record, header, text_header
from pipeline.settings import Settings

CHUNK_BYTES: Final = 8 * 1024 * 1024
CHUNK_RECORDS: Final = 1000
"""Bounds of one chunk in bytes and in records: a letter may have two megabytes, a receipt a few hundred bytes."""

DIGEST_BYTES: Final = 16

FORGET: Final = b"forget"


@dataclass(frozen=True, slots=True)
class Whose:
    """The person whose letters are to be removed.

    Args:
        customer_id: Dodo's id.
        is_person: whether one of these ids and addresses at Customer.io is the person's.
    """

    customer_id: str
    is_person: Callable[[frozenset[str]], bool]

    def wrote(self, record: Record, letter: Letter) -> bool:
        """Whether a letter is about the person.

        A letter of the sink is, if its operation is to the person and does not remove them; one of another stage, if it
        names the customer. A failed request to be forgotten is not: it must still be carried out.
        """
        if letter.stage is None or header(record.headers, DODO_COMMAND) == FORGET:
            return False
        if letter.stage == SINK:
            told = telling_of(record)
            return told is not None and self.is_person(told.people)
        if self.customer_id in letter.ids:
            return True
        return letter.stage == "ingest" and self._is_named_in(record.value or b"")

    def _is_named_in(self, body: bytes) -> bool:
        """Whether bytes that are not a webhook contain the id as a whole word."""
        return re.search(rb"(?<![\w-])" + re.escape(self.customer_id.encode()) + rb"(?![\w-])", body) is not None


@dataclass(slots=True)
class Lying:
    """The letters about the person that are in the topic.

    Attributes:
        count: how many.
        offsets: by partition.
        keys: of each partition, for a topic that is compacted.
        newest_ms: when the last one failed, unix ms.
    """

    count: int = 0
    offsets: dict[int, set[int]] = field(default_factory=dict)
    keys: dict[int, set[bytes]] = field(default_factory=dict)
    newest_ms: int = 0

    def add(self, record: Record, letter: Letter) -> None:
        """Add a letter."""
        self.count += 1
        self.offsets.setdefault(record.partition, set()).add(record.offset)
        if record.key is not None:
            self.keys.setdefault(record.partition, set()).add(record.key)
        self.newest_ms = max(self.newest_ms, letter.at_ms)

    @property
    def places(self) -> list[Place]:
        """The places of the letters, in order."""
        return [Place(number, offset) for number in sorted(self.offsets) for offset in sorted(self.offsets[number])]


async def find(reader: LetterReader, whose: Whose, told: Callable[[], None] = lambda: None) -> Lying:
    """Read the whole topic for letters about the person; `told` is called for each record."""
    lying = Lying()
    async with aclosing(reader.records(reader.spans)) as records:
        async for record in records:
            told()
            if read_receipt(record) is None and whose.wrote(record, letter := read_letter(record)):
                lying.add(record, letter)
    return lying


async def is_compacted(settings: Settings) -> bool:
    """Whether the dead letters' topic keeps the last record of each key and deletes none by age.

    Raises:
        TopicError: its configuration cannot be read.
    """
    topic = settings.dead_letters_topic
    async with open_admin(settings) as admin:
        entries = (await admin.configs([topic])).get(topic)
    if entries is None:
        raise TopicError(
            f"topic {topic}: how letters can be removed depends on its cleanup.policy, and this user may not read its "
            "configuration: it needs the ACL DESCRIBE_CONFIGS on the topic"
        )
    policy = (entries.get("cleanup.policy", ("delete", 0))[0] or "delete").split(",")
    return "delete" not in {word.strip() for word in policy}


async def bury(settings: Settings, producer: Producer, lying: Lying) -> None:
    """Write a tombstone for every key of the letters (compacted topics).

    Raises:
        DeliveryError: the tombstones did not become durable.
    """
    chunk = producer.chunk()
    for partition, keys in lying.keys.items():
        for key in sorted(keys):
            chunk.append(settings.dead_letters_topic, partition, OutRecord(key, None, ()))
    await chunk.send()


async def rewrite(
    settings: Settings, reader: LetterReader, producer: Producer, lying: Lying, told: Callable[[], None] = lambda: None
) -> int:
    """Rewrite the partitions without these letters, one after the other; return how many other records were moved.

    Raises:
        TopicError: a record cannot be written again, or deleting is not allowed; nothing of its partition was deleted.
        DeliveryError: copies did not become durable; nothing of their partition was deleted.
    """
    topic = settings.dead_letters_topic
    moved = 0
    for partition, offsets in lying.offsets.items():
        span = reader.spans[partition]
        async with aclosing(reader.records({partition: span})) as records:
            moved += await _copy(topic, partition, producer, _others(records, offsets, told))
        async with open_admin(settings) as admin:
            await admin.delete_records(topic, {partition: span.end})
    return moved


async def _others(records: AsyncIterator[Record], offsets: set[int], told: Callable[[], None]) -> AsyncIterator[Record]:
    seen: set[bytes] = set()
    async for record in records:
        told()
        if type(record) is UnreadableRecord:
            raise TopicError(
                f"{record.topic}/{record.partition}/{record.offset} cannot be read ({record.fault}), so it cannot be "
                "written again, and nothing was deleted: the letters go by the topic's retention"
            )
        if record.offset not in offsets and (digest := _digest(record)) not in seen:
            seen.add(digest)
            yield record


def _digest(record: Record) -> bytes:
    """A digest of all that a copy keeps."""
    parts = [record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode("utf-8", "replace"), value]
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part))
        digest.update(part or b"")
    return digest.digest()


async def _copy(topic: str, partition: int, producer: Producer, records: AsyncIterator[Record]) -> int:
    chunk, count, size, moved = producer.chunk(), 0, 0, 0
    async for record in records:
        copy = OutRecord(record.key, record.value, tuple(record.headers), timestamp_ms=record.timestamp)
        chunk.append(topic, partition, copy)
        count, size, moved = count + 1, size + len(record.value or b""), moved + 1
        if count >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            await chunk.send()
            chunk, count, size = producer.chunk(), 0, 0
    if count:
        await chunk.send()
    return moved


def is_tombstone(record: Record) -> bool:
    """Whether a record of the topic is a tombstone, which removes others with its key."""
    return record.value is None and text_header(record.headers, DLQ_STAGE) is None


def spans_of(reader: LetterReader, lying: Lying) -> Mapping[int, Span]:
    """The offsets that are read to rewrite the partitions."""
    return {partition: reader.spans[partition] for partition in lying.offsets}
