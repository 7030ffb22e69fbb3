"""Bringing mirrors up to the end of the changelog before the first webhook is read."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from pipeline import logs
from pipeline.settings import Settings
from pipeline.transform.state import facts
from pipeline.transform.state.border import Sifted, Warnings, sift
from pipeline.transform.state.changelog import Changelog, Piece
from pipeline.transform.state.changes import Began
from pipeline.transform.state.events import MirrorStartedAnew, RestoreAdvanced, StateEvent, StateRestored
from pipeline.transform.state.facts import BEGAN
from pipeline.transform.state.last_copy import Difference, refused
from pipeline.transform.state.mirror import Mirror
from pipeline.transform.state.partitions import began_fact, began_value, check_written
from pipeline.transform.state.slot import NONE_THERE

TOLD_EVERY_S: Final = 5.0

T = TypeVar("T")

log = logs.get(__name__)

RunInThread = Callable[[Callable[[], T]], Awaitable[T]]


@dataclass(slots=True)
class Place:
    """How far one partition is: offsets of the changelog."""

    start: int
    at: int
    end: int

    @property
    def share(self) -> float:
        """What is done, between 0 and 1."""
        return (self.at - self.start) / (self.end - self.start) if self.end > self.start else 1.0


class Restoration:
    """One restore, of the mirrors of some partitions.

    Cancelled at any moment it leaves the mirrors as far as they had come; the next one goes on from there.

    Args:
        settings: how to reach the brokers, and the topic's name.
        write_began: writes the record with which a partition's state begins, and returns when it is durable.
        in_thread: runs the mirrors' work away from the event loop, one piece at a time.
        tell: hears what happened.
    """

    def __init__(
        self,
        settings: Settings,
        write_began: Callable[[int, bytes], Awaitable[None]],
        in_thread: RunInThread[Any],
        tell: Callable[[StateEvent], None],
    ) -> None:
        self.places: dict[int, Place] = {}
        self._settings = settings
        self._topic = settings.customers_topic
        self._write_began = write_began
        self._in_thread = in_thread
        self._tell = tell
        self._warnings = Warnings(self._topic, tell)
        self._records = 0
        self._began_at = self._told_at = time.monotonic()

    async def run(self, mirrors: Mapping[int, Mirror], partitions: int) -> dict[int, set[bytes]]:
        """Bring them up to the end of the topic; by partition the keys that must be written again, see `absorb`.

        `partitions` is how many the topic has.

        Raises:
            TopicError: the topic cannot be read, was cut meanwhile, has facts that were written under another number of
                partitions, or has lost what a mirror still holds.
            KafkaError, BrokerUnreachableError: the brokers did not answer.
            StateError: a mirror is broken.
        """
        differing: dict[int, set[bytes]] = {}
        async with Changelog.open(self._settings, frozenset(mirrors)) as changelog:
            await self._verify(changelog, mirrors)
            left = dict(mirrors)
            while left:
                for number, keys in (await self._read(changelog, left)).items():
                    differing.setdefault(number, set()).update(keys)
                for mirror in left.values():
                    if mirror.began is not None:
                        check_written(self._settings, mirror.began.value, partitions)
                left = {number: mirror for number, mirror in left.items() if mirror.began is None}
                if left:
                    await self._check_others(left, partitions)
                for number in left:
                    value = began_value(int(time.time() * 1000), secrets.token_hex(16), partitions)
                    await self._write_began(number, value)
        took_s = time.monotonic() - self._began_at
        self._tell(StateRestored(self._topic, tuple(sorted(mirrors)), self._records, took_s))
        log.info(
            "Customers' state restored",
            topic=self._topic, partitions=sorted(mirrors), records=self._records, seconds=round(took_s, 3),
        )  # fmt: skip
        return differing

    async def _check_others(self, new: Mapping[int, Mirror], partitions: int) -> None:
        """Partitions without a beginning are new: all of them, or those that were added under the facts of others."""
        others = [number for number in range(partitions) if number not in new]
        if others:
            async with Changelog.open(self._settings, frozenset(others)) as changelog:
                value = await _a_beginning(changelog)
            if value is not None:
                check_written(self._settings, value, partitions)

    async def _verify(self, changelog: Changelog, mirrors: Mapping[int, Mirror]) -> None:
        """Start those anew that are not mirrors of what the topic is now.

        Raises:
            TopicError: one of them holds more than the topic does, and nobody has accepted its loss.
        """
        bounds, differing = await differences(changelog, mirrors)
        last = {number: one for number, one in differing.items() if one.is_last_copy}
        if last and not self._settings.state_loss_accepted:
            raise refused(self._topic, self._settings.data_dir, last)
        for number, one in differing.items():
            if number in last:
                log.warning(
                    "Facts about customers are given up, as was accepted: the topic does not have them",
                    topic=self._topic, partition=number, facts=last[number].facts, records=last[number].records,
                )  # fmt: skip
            await self._in_thread(partial(mirrors[number].start_anew, one.why))
        for number, mirror in mirrors.items():
            if mirror.why_empty is not None:
                say = log.info if mirror.why_empty == NONE_THERE else log.warning
                say(
                    "The local mirror of a partition is built anew from the topic",
                    topic=self._topic, partition=number, because=mirror.why_empty,
                    records=len(bounds[number]),
                )  # fmt: skip
                self._tell(MirrorStartedAnew(self._topic, number, mirror.why_empty))
                mirror.why_empty = None

    async def _read(self, changelog: Changelog, mirrors: Mapping[int, Mirror]) -> dict[int, set[bytes]]:
        bounds = await changelog.bounds()
        spans = {
            number: range(max(mirror.next_offset, bounds[number].start), bounds[number].stop)
            for number, mirror in mirrors.items()
        }
        self.places = {number: Place(span.start, span.start, span.stop) for number, span in spans.items()}
        differing: dict[int, set[bytes]] = {}
        absorbing: asyncio.Future[None] | None = None
        try:
            async for piece in changelog.read(spans):
                if absorbing is not None:
                    await absorbing
                work = self._absorb(mirrors[piece.partition], piece, differing)
                absorbing = asyncio.ensure_future(work)  # while the next piece comes
        finally:
            if absorbing is not None:
                await absorbing
        return differing

    async def _absorb(self, mirror: Mirror, piece: Piece, differing: dict[int, set[bytes]]) -> None:
        def absorb() -> tuple[Sifted, set[bytes]]:
            sifted = sift(piece.changes, piece.offsets)
            return sifted, mirror.absorb(sifted.changes, piece.next_offset, sifted.began, facts.merge_at)

        sifted, keys = await self._in_thread(absorb)
        self._warnings.hear(piece.partition, sifted)
        differing.setdefault(piece.partition, set()).update(keys)
        place = self.places[piece.partition]
        place.at = min(piece.next_offset, place.end)
        self._records += len(piece.changes)
        remaining = sum(one.end - one.at for one in self.places.values())
        self._tell(RestoreAdvanced(self._topic, piece.partition, len(piece.changes), remaining))
        now = time.monotonic()
        if now - self._told_at > TOLD_EVERY_S:
            self._told_at = now
            log.info(
                "Restoring the customers' state",
                topic=self._topic, records=self._records, remaining=remaining,
                partitions=sorted(number for number, one in self.places.items() if one.at < one.end),
            )  # fmt: skip


async def differences(
    changelog: Changelog, mirrors: Mapping[int, Mirror]
) -> tuple[Mapping[int, range], dict[int, Difference]]:
    """The bounds of the topic's partitions, and which of these mirrors are none of what the topic is now.

    Raises:
        TopicError: the topic cannot be read.
        KafkaError, BrokerUnreachableError: the brokers did not answer.
    """
    bounds = await changelog.bounds()
    faults: dict[int, str] = {}
    began: dict[int, Began] = {}
    for number, mirror in mirrors.items():
        if not mirror.next_offset:
            continue
        if mirror.began is None:
            faults[number] = "it does not know which topic it is of"
        elif mirror.began.offset not in bounds[number]:
            faults[number] = "the topic was made anew, or cut"
        else:
            began[number] = mirror.began
    cut: set[int] = set()
    if began:
        found = await changelog.at({number: record.offset for number, record in began.items()})
        for number, record in began.items():
            if found[number] != (BEGAN, record.value):
                faults[number] = "it is of another topic of this name"
            elif mirrors[number].next_offset > bounds[number].stop:
                faults[number] = f"it knows the topic up to offset {mirrors[number].next_offset}, where no more is"
                cut.add(number)
    return bounds, {
        number: Difference(why, mirrors[number].facts, len(bounds[number]), number in cut)
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


def began_at_ms(mirror: Mirror) -> int:
    """When the partition's state began, unix milliseconds; now, for a record that nobody understands."""
    at_ms = None if mirror.began is None else began_fact(mirror.began.value)[0]
    return int(time.time() * 1000) if at_ms is None else at_ms
