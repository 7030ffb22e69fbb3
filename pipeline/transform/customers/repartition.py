"""Moving every fact to the partition of its owner, when the topics have another number of partitions than before.

Nobody decides a webhook meanwhile: the move begins by writing into every partition that it is under way, which no
transform starts under, and ends by writing under how many partitions the facts lie now. In between each fact is written
where it belongs, merged with what is known of it there, and taken away where it was once the copy is durable. A move
that was interrupted is begun again: what is moved already is where it belongs, and a fact that lies twice is merged.
Survey and move are in one module, since the move relies on exactly what the survey read.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import open_lag_reader
from pipeline.kafka.producer.sending import Producer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.statestore.changelog import Changelog, Piece
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.events import RecordsKeptAside
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.partition_count import MOVING, began_fact, began_value
from pipeline.statestore.validation import Warnings, as_it_was, sift
from pipeline.transform.customers import facts
from pipeline.transform.customers.facts import decode, key, merge_at
from pipeline.transform.customers.schema import CUSTOMERS

DIRECTORY: Final = "repartition"
"""Beside the workers' mirrors, and gone at the end: what the topic holds, to be looked through in the order of keys."""

PIECE_FACTS: Final = 2000
"""Facts that are on their way at once, of whole customers: a round trip to the brokers for each so many."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """How far a phase is, in offsets that are read or in facts that are moved."""

    phase: str
    done: int
    total: int


@dataclass(slots=True)
class Survey:
    """What lies where: all facts, and those that lie elsewhere than at their owner, by (from, to)."""

    partitions: int
    facts: int = 0
    customers: int = 0
    kept_aside: int = 0
    """Records that are no facts of this version; under a customer's key they move as they are."""
    misplaced: Counter[tuple[int, int]] = field(default_factory=Counter)
    written_under: dict[int, int | None] = field(default_factory=dict)
    """By partition that has begun, the number of partitions in its first record."""

    @property
    def to_move(self) -> int:
        """Facts that lie elsewhere than at their owner."""
        return self.misplaced.total()

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do: every fact lies at its owner, and every partition's beginning records it."""
        right = all(count == self.partitions for count in self.written_under.values())
        whole = not self.written_under or len(self.written_under) == self.partitions
        return not self.to_move and right and whole


async def check_quiet(settings: Settings, *, with_backlog: bool = False) -> None:
    """The group has no member; nothing waits for it either, unless `with_backlog`.

    Raises:
        TopicError: it has, or something waits.
        ConfigurationError: this user may not look at the group.
    """
    group, topic = settings.transform_group, settings.webhooks_topic
    async with open_admin(settings) as admin:
        members = (await admin.group_state(group)).members
    if members:
        raise TopicError(
            f"group {group} has {members} member{'' if members == 1 else 's'}: stop every transform first (one that "
            "died leaves the group after PIPELINE_SESSION_TIMEOUT_SECONDS). Facts would be written while they move"
        )
    if with_backlog:
        return
    async with open_lag_reader(settings) as reader:
        (lag,) = await reader.read([ConsumedTopic(group, topic)])
    waiting = {row.partition: row.records for row in lag.partitions if row.records != 0}
    if waiting:
        told = ", ".join(
            f"{number}: {'unknown' if records is None else records}" for number, records in sorted(waiting.items())
        )
        raise TopicError(
            f"webhooks wait in {topic} for group {group} (by partition {told}). Stop the producers and let the "
            "transform come to the end before partitions are added. If they were added already, it starts no more: "
            "pass --with-backlog, what waits is then sent on to its owner, behind what lies there by then"
        )


class Repartition:
    """One move. `close` it, whatever became of it.

    Args:
        settings: topics, brokers and the data directory.
        partitions: how many both topics have now.
    """

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._settings = settings
        self._topic = settings.customers_topic
        self._partitions = partitions
        self._base = settings.data_dir / DIRECTORY
        self._stores: dict[int, LmdbStore] = {}
        self._aside: Counter[int] = Counter()
        self._warnings = Warnings(self._topic, self._kept_aside)

    async def read(self, tell: Callable[[Advanced], None] = lambda _: None) -> Survey:
        """Read the whole topic; `tell` is called with the progress.

        Raises:
            TopicError: it cannot be read.
            SettingsError: the data directory cannot be used.
        """
        await asyncio.to_thread(self._open)
        async with Changelog.open(self._settings, frozenset(self._stores), CUSTOMERS) as changelog:
            bounds = await changelog.bounds()
            total = sum(map(len, bounds.values()))
            places = {number: span.start for number, span in bounds.items()}
            async for piece in changelog.read(bounds):
                await asyncio.to_thread(self._absorb, piece)
                places[piece.partition] = min(piece.next_offset, bounds[piece.partition].stop)
                done = sum(place - bounds[number].start for number, place in places.items())
                tell(Advanced("Reading", done, total))
        return await asyncio.to_thread(self._survey)

    def _kept_aside(self, event: RecordsKeptAside) -> None:
        self._aside[event.partition] += sum(event.kinds.values())

    def _open(self) -> None:
        shutil.rmtree(self._base, ignore_errors=True)  # of a move that was killed
        for number in range(self._partitions):
            self._stores[number] = LmdbStore.open(self._base, self._topic, number, CUSTOMERS)

    def _absorb(self, piece: Piece) -> None:
        sifted = sift(piece.changes, piece.offsets, CUSTOMERS)
        self._warnings.hear(piece.partition, sifted)
        store = self._stores[piece.partition]
        store.absorb(sifted.changes, piece.next_offset, sifted.began)

    def _survey(self) -> Survey:
        survey = Survey(self._partitions, kept_aside=self._aside.total())
        for number, store in self._stores.items():
            if store.began is not None:
                survey.written_under[number] = began_fact(store.began.value)[2]
            place, last = Ownership(number, self._partitions), b""
            for name, _ in store.scan(b""):
                customer = CUSTOMERS.group_of(name)
                if not customer:
                    continue
                survey.facts += 1
                if customer != last:
                    last, owner = customer, place.owner(customer)
                    survey.customers += 1
                if owner != number:
                    survey.misplaced[number, owner] += 1
        return survey

    async def move(self, producer: Producer, survey: Survey, tell: Callable[[Advanced], None] = lambda _: None) -> None:
        """Bring every fact to its owner; the topic then records under how many partitions they lie.

        Raises:
            TopicError: a transform has joined its group meanwhile.
            DeliveryError: something is not known to be durable; the next run goes on.
        """
        at_ms = max((ms for ms in map(self._began_ms, self._stores.values()) if ms is not None), default=None)
        at_ms = int(time.time() * 1000) if at_ms is None else at_ms
        await self._say(producer, at_ms, MOVING)
        await check_quiet(self._settings, with_backlog=True)  # whoever joins from now on reads that
        moved = 0
        for number in self._stores:
            for piece in self._pieces(number):
                await self._move_piece(producer, number, piece)
                moved += len(piece)
                tell(Advanced("Moving", moved, survey.to_move))
        await self._say(producer, at_ms, self._partitions)

    @staticmethod
    def _began_ms(store: LmdbStore) -> int | None:
        return None if store.began is None else began_fact(store.began.value)[0]

    async def _say(self, producer: Producer, at_ms: int, partitions: int) -> None:
        chunk = producer.chunk()
        for number in self._stores:
            value = began_value(at_ms, secrets.token_hex(16), partitions)
            chunk.append(self._topic, number, OutRecord(BEGAN, value, CUSTOMERS.headers))
        await chunk.send()

    def _pieces(self, number: int) -> Iterator[dict[bytes, bytes]]:
        """The facts of a partition that belong elsewhere, whole customers at a time."""
        place = Ownership(number, self._partitions)
        piece: dict[bytes, bytes] = {}
        last, owned = b"", True
        for name, value in self._stores[number].scan(b""):
            customer = CUSTOMERS.group_of(name)
            if customer != last:
                if len(piece) >= PIECE_FACTS:
                    yield piece
                    piece = {}
                last, owned = customer, not customer or place.owns(customer)
            if not owned:
                piece[name] = value
        if piece:
            yield piece

    async def _move_piece(self, producer: Producer, source: int, piece: Mapping[bytes, bytes]) -> None:
        """Write it at its owners, and when it is durable there, take it away."""
        copies: dict[int, dict[bytes, bytes | None]] = {}
        for customer, mine in _by_customer(piece):
            owner = Ownership(source, self._partitions).owner(customer)
            theirs = dict(self._stores[owner].scan(facts.prefix(customer)))
            copies.setdefault(owner, {}).update(joined(customer, mine, theirs))
        chunk = producer.chunk()
        for owner, values in copies.items():
            for name, value in values.items():
                said = None if value is None else as_it_was(value)
                chunk.append(self._topic, owner, OutRecord(name, said, CUSTOMERS.headers))
        await chunk.send()
        for owner, values in copies.items():
            store = self._stores[owner]
            await asyncio.to_thread(partial(store.write, values, {}, store.next_offset))
        chunk = producer.chunk()
        for name in piece:
            chunk.append(self._topic, source, OutRecord(name, None, CUSTOMERS.headers))
        await chunk.send()

    async def close(self) -> None:
        """Leave nothing on the disk."""
        stores, self._stores = self._stores, {}
        for store in stores.values():
            store.close(clean=False)
        await asyncio.to_thread(shutil.rmtree, self._base, ignore_errors=True)


def _by_customer(piece: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    found: dict[bytes, dict[bytes, bytes]] = {}
    for name, value in piece.items():
        found.setdefault(CUSTOMERS.group_of(name), {})[name] = value
    yield from found.items()


def joined(customer: bytes, moved: Mapping[bytes, bytes], there: Mapping[bytes, bytes]) -> dict[bytes, bytes | None]:
    """What must be written at a customer's owner, who has the facts `there`, when others are `moved` to them.

    Where one of both knows that the customer was forgotten and the other went on, what happened before goes with it.
    """
    both: dict[bytes, bytes | None] = {}
    for name, value in moved.items():
        known = there.get(name)
        merged = value if known is None else merge_at(name, known, value)
        if merged != known:
            both[name] = merged
    mark = key(customer, "forgotten", "")
    forgotten = decode("forgotten", both.get(mark) or there.get(mark))
    if forgotten is None or not there:
        return both
    for name, told in {**there, **both}.items():
        if told is not None and facts.is_older(name, told, forgotten[0]):
            if name in there:
                both[name] = None
            else:
                del both[name]
    return both
