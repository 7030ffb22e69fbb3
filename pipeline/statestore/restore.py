"""Restoring local stores: read the changelog to its end before the first record of the input topic is processed."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from pipeline import logs
from pipeline.settings import Settings
from pipeline.statestore.changelog import Changelog, Piece
from pipeline.statestore.changes import BEGAN, Began
from pipeline.statestore.directory import NONE_THERE
from pipeline.statestore.events import RestoreAdvanced, StateEvent, StateRestored, StoreStartedAnew
from pipeline.statestore.last_copy import TopicDifference, refused
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.partition_count import began_fact, began_value, check_written
from pipeline.statestore.schema import Schema
from pipeline.statestore.validation import Sifted, Warnings, sift

TOLD_EVERY_S: Final = 5.0

T = TypeVar("T")

log = logs.get(__name__)

RunInThread = Callable[[Callable[[], T]], Awaitable[T]]


@dataclass(slots=True)
class RestoreProgress:
    """How far one partition is: offsets of the changelog."""

    start: int
    at: int
    end: int

    @property
    def share(self) -> float:
        """What is done, between 0 and 1."""
        return (self.at - self.start) / (self.end - self.start) if self.end > self.start else 1.0


class Restore:
    """One restore, of the stores of some partitions.

    Cancelled at any moment it leaves the stores as far as they had come; the next one goes on from there.

    Args:
        settings: how to reach the brokers, and the topic's name.
        schema: the form of keys and values.
        write_began: writes the record with which a partition's state begins, and returns when it is durable.
        in_thread: runs the stores' work away from the event loop, one piece at a time.
        tell: called with each event.
    """

    def __init__(
        self,
        settings: Settings,
        schema: Schema,
        write_began: Callable[[int, bytes], Awaitable[None]],
        in_thread: RunInThread[Any],
        tell: Callable[[StateEvent], None],
    ) -> None:
        self.progress: dict[int, RestoreProgress] = {}
        self._settings = settings
        self._schema = schema
        self._topic = settings.customers_topic
        self._write_began = write_began
        self._in_thread = in_thread
        self._tell = tell
        self._warnings = Warnings(self._topic, tell)
        self._records = 0
        self._began_at = self._told_at = time.monotonic()

    async def run(self, local_stores: Mapping[int, LmdbStore], partitions: int) -> None:
        """Bring them up to the end of the topic, of which `partitions` is how many partitions it has.

        Raises:
            TopicError: the topic cannot be read, was cut meanwhile, has records written under another number of
                partitions, or has lost what a store still holds.
            KafkaError, BrokerUnreachableError: the brokers did not answer.
            StateError: a store is broken.
        """
        try:
            await self._run(local_stores, partitions)
        except asyncio.CancelledError:
            self._say("The restore of the customers' state was called off; the next one goes on", local_stores)
            raise
        took_s = self._say("Customers' state restored", local_stores)
        self._tell(StateRestored(self._topic, tuple(sorted(local_stores)), self._records, took_s))

    def _say(self, what: str, partitions: Iterable[int]) -> float:
        """Log it, and return how many seconds it has taken."""
        took_s = time.monotonic() - self._began_at
        log.info(
            what,
            topic=self._topic, partitions=sorted(partitions), records=self._records, seconds=round(took_s, 3),
        )  # fmt: skip
        return took_s

    async def _run(self, local_stores: Mapping[int, LmdbStore], partitions: int) -> None:
        async with Changelog.open(self._settings, frozenset(local_stores), self._schema) as changelog:
            await self._verify(changelog, local_stores)
            left = dict(local_stores)
            while left:
                await self._read(changelog, left)
                for local in left.values():
                    if local.began is not None:
                        check_written(self._settings, local.began.value, partitions)
                left = {number: local for number, local in left.items() if local.began is None}
                if left:
                    await self._check_others(left, partitions)
                for number in left:
                    value = began_value(int(time.time() * 1000), secrets.token_hex(16), partitions)
                    await self._write_began(number, value)

    async def _check_others(self, new: Mapping[int, LmdbStore], partitions: int) -> None:
        """Partitions without a beginning are new: all of them, or those that were added under the records of others."""
        others = [number for number in range(partitions) if number not in new]
        if others:
            async with Changelog.open(self._settings, frozenset(others), self._schema) as changelog:
                value = await _a_beginning(changelog)
            if value is not None:
                check_written(self._settings, value, partitions)

    async def _verify(self, changelog: Changelog, local_stores: Mapping[int, LmdbStore]) -> None:
        """Start those anew that are not copies of what the topic is now.

        Raises:
            TopicError: one of them holds more than the topic does, and nobody has accepted its loss.
        """
        bounds, differing = await differences(changelog, local_stores)
        last = {number: one for number, one in differing.items() if one.is_last_copy}
        if last and not self._settings.state_loss_accepted:
            raise refused(self._topic, self._settings.data_dir, last)
        for number, one in differing.items():
            if number in last:
                log.warning(
                    "Facts about customers are given up, as was accepted: the topic does not have them",
                    topic=self._topic, partition=number, facts=last[number].values, records=last[number].records,
                )  # fmt: skip
            await self._in_thread(partial(local_stores[number].start_anew, one.why))
        for number, local in local_stores.items():
            if local.why_empty is not None:
                say = log.info if local.why_empty == NONE_THERE else log.warning
                say(
                    "The local mirror of a partition is built anew from the topic",
                    topic=self._topic, partition=number, because=local.why_empty,
                    records=len(bounds[number]),
                )  # fmt: skip
                self._tell(StoreStartedAnew(self._topic, number, local.why_empty))
                local.why_empty = None

    async def _read(self, changelog: Changelog, local_stores: Mapping[int, LmdbStore]) -> None:
        bounds = await changelog.bounds()
        spans = {
            number: range(max(local.next_offset, bounds[number].start), bounds[number].stop)
            for number, local in local_stores.items()
        }
        self.progress = {number: RestoreProgress(span.start, span.start, span.stop) for number, span in spans.items()}
        absorbing: asyncio.Future[None] | None = None
        called_off = threading.Event()
        try:
            async for piece in changelog.read(spans):
                if absorbing is not None:
                    await asyncio.shield(absorbing)
                work = self._absorb(local_stores[piece.partition], piece, called_off.is_set)
                absorbing = asyncio.ensure_future(work)  # while the next piece comes
            if absorbing is not None:
                await asyncio.shield(absorbing)
        except asyncio.CancelledError:
            called_off.set()  # on a slow disk a piece takes seconds, and the whole group waits for this rebalance
            raise
        finally:
            if absorbing is not None:
                await asyncio.gather(absorbing, return_exceptions=True)

    async def _absorb(self, local: LmdbStore, piece: Piece, is_called_off: Callable[[], bool]) -> None:
        def absorb() -> Sifted:
            sifted = sift(piece.changes, piece.offsets, local.schema)
            if sifted.first is not None:
                local.keeps_aside()
            local.absorb(sifted.changes, piece.next_offset, sifted.began, is_called_off)
            return sifted

        sifted = await self._in_thread(absorb)
        if local.next_offset < piece.next_offset:
            return
        self._warnings.hear(piece.partition, sifted)
        progress = self.progress[piece.partition]
        progress.at = min(piece.next_offset, progress.end)
        self._records += len(piece.changes)
        remaining = sum(one.end - one.at for one in self.progress.values())
        self._tell(RestoreAdvanced(self._topic, piece.partition, len(piece.changes), remaining))
        now = time.monotonic()
        if now - self._told_at > TOLD_EVERY_S:
            self._told_at = now
            log.info(
                "Restoring the customers' state",
                topic=self._topic, records=self._records, remaining=remaining,
                partitions=sorted(number for number, one in self.progress.items() if one.at < one.end),
            )  # fmt: skip


async def differences(
    changelog: Changelog, local_stores: Mapping[int, LmdbStore]
) -> tuple[Mapping[int, range], dict[int, TopicDifference]]:
    """The bounds of the topic's partitions, and which of these stores are none of what the topic is now.

    Raises:
        TopicError: the topic cannot be read.
        KafkaError, BrokerUnreachableError: the brokers did not answer.
    """
    bounds = await changelog.bounds()
    faults: dict[int, str] = {}
    began: dict[int, Began] = {}
    for number, local in local_stores.items():
        if not local.next_offset:
            continue
        if local.began is None:
            faults[number] = "it does not know which topic it is of"
        elif local.began.offset not in bounds[number]:
            faults[number] = "the topic was made anew, or cut"
        else:
            began[number] = local.began
    cut: set[int] = set()
    if began:
        found = await changelog.at({number: record.offset for number, record in began.items()})
        for number, record in began.items():
            if found[number] != (BEGAN, record.value):
                faults[number] = "it is of another topic of this name"
            elif local_stores[number].next_offset > bounds[number].stop:
                faults[number] = f"it knows the topic up to offset {local_stores[number].next_offset}, where no more is"
                cut.add(number)
            elif local_stores[number].may_lack:
                faults[number] = "another version has kept records aside that this one may know"
    return bounds, {
        number: TopicDifference(why, local_stores[number].count, len(bounds[number]), number in cut)
        for number, why in faults.items()
    }


async def _a_beginning(changelog: Changelog) -> bytes | None:
    """With what the first partition began that has begun; as a rule it is the first record there is."""
    for number, span in (await changelog.bounds()).items():
        async with aclosing(changelog.read({number: span})) as pieces:
            async for piece in pieces:
                for key, value in piece.changes:
                    if key == BEGAN and value is not None:
                        return value
    return None


def began_at_ms(local: LmdbStore) -> int:
    """When the partition's state began, unix milliseconds; now, for a record that nobody understands."""
    at_ms = None if local.began is None else began_fact(local.began.value)[0]
    return int(time.time() * 1000) if at_ms is None else at_ms
