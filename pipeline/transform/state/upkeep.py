"""What a worker's disk must not keep: what was deleted from its mirrors, and mirrors that are no more its own.

A request to be forgotten is carried out for every reader at once, but the bytes stay in the file until it is written
anew. That happens `state_erase_after_seconds` after the first such deletion, for all that came meanwhile. A partition
that moves to another worker leaves its mirror behind; it is removed `state_keep_unowned_seconds` later. Both together,
for a partition that moves just before its file would be written, stay within an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.transform.state.changelog import Changelog
from pipeline.transform.state.events import CompactionFailed, MirrorCompacted, MirrorRemoved, StateEvent
from pipeline.transform.state.last_copy import Difference
from pipeline.transform.state.mirror import Mirror
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.restoration import differences
from pipeline.transform.state.slot import empty_if_unused, unused

LOOK_S: Final = 15.0
"""Between two looks. Each costs a few calls of the file system."""

AGAIN_S: Final = 300.0
"""After a compaction that failed: it fails for the disk, and each attempt writes what the disk has room for."""

ANSWER_WITHIN_S: Final = 5.0
"""For the brokers' answer whether the topic has what a mirror has. A partition that comes back waits for it."""

UPKEEP: Final = BackgroundTask("mirror upkeep", OnEnd.RESTART)

log = logs.get(__name__)


class Upkeep:
    """Looks after the files of one worker's mirrors, from the first assignment that was restored until `stop`.

    Args:
        settings: the times, the topic, the brokers.
        base: where the mirrors lie.
        shelves: the facts of the partitions that are ours, as they come and go.
        wanted: the partitions that are ours or about to be opened, as they come and go.
        closing: what works on the files of other partitions, for whoever wants to open them.
        tasks: runs it.
        tell: hears what happened.
    """

    def __init__(
        self,
        settings: Settings,
        base: Path,
        *,
        shelves: Mapping[int, MirroredShelf],
        wanted: Collection[int],
        closing: MutableMapping[int, asyncio.Future[None]],
        tasks: Tasks,
        tell: Callable[[StateEvent], None],
    ) -> None:
        self._settings = settings
        self._topic = settings.customers_topic
        self._base = base
        self._shelves = shelves
        self._wanted = wanted
        self._closing = closing
        self._tell = tell
        self._tasks = tasks
        self._assigned = self._stopping = False
        self._working = asyncio.Lock()
        self._copying: Mirror | None = None
        self._answer: asyncio.Timeout | None = None
        self._again_at: dict[int, float] = {}

    def assigned(self) -> None:
        """Partitions were assigned and restored, so that it is known which are ours, and that the topic is whole."""
        if not self._assigned:
            self._assigned = True
            self._tasks.start(UPKEEP, self._watch)

    async def stop(self) -> None:
        """Begin nothing more, and return when no file is in use here. Nobody waits for an answer or a copy any more."""
        self._stopping = True
        if self._answer is not None:
            self._answer.reschedule(asyncio.get_running_loop().time())
        if self._copying is not None:
            self._copying.give_up_copy()
        async with self._working:
            await self._tasks.stop()

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do what is due."""
        async with self._working:
            await self._look()

    async def _look(self) -> None:
        for number, shelf in sorted(self._shelves.items()):
            if self._stopping:
                return
            if not shelf.is_given_up and self._is_due(number, shelf.mirror.remains_since_s):
                await self._compact(number, shelf)
        keep_s = self._settings.state_keep_unowned_seconds
        directory = self._base / self._topic
        for number, place in await asyncio.to_thread(unused, directory, keep_s):
            if self._stopping:
                return
            if place:
                await asyncio.to_thread(empty_if_unused, directory, f"{number}-{place}")
            elif number not in self._wanted and number not in self._closing:
                await self._remove(number)

    def _is_due(self, number: int, since_s: int | None) -> bool:
        if since_s is None or time.monotonic() < self._again_at.get(number, 0.0):
            return False
        return not 0 <= time.time() - since_s < self._settings.state_erase_after_seconds

    async def _compact(self, number: int, shelf: MirroredShelf) -> None:
        """Write the mirror's file anew: read as before, and stored to when it is over."""
        mirror, started = shelf.mirror, time.monotonic()
        since_s = mirror.remains_since_s
        with shelf.held():
            try:
                before = mirror.size_bytes
                self._copying = mirror
                await asyncio.to_thread(mirror.copy)
                if shelf.is_given_up:
                    mirror.drop_copy()  # the partition moves or is restored anew, and is looked at again afterwards
                    return
                if not mirror.take_copy():
                    return
                after = mirror.size_bytes
            except PipelineError as error:
                self._again_at[number] = time.monotonic() + AGAIN_S
                log.warning(
                    "What was deleted from the local mirror of a partition is still on the disk",
                    topic=self._topic, partition=number, error=str(error), again_in_s=AGAIN_S,
                )  # fmt: skip
                self._tell(CompactionFailed(self._topic, number, error))
                return
            finally:
                self._copying = None
        took_s, waited_s = time.monotonic() - started, time.time() - (since_s or 0)
        event = MirrorCompacted(self._topic, number, before, after, waited_s, took_s)
        log.info(
            "The local mirror of a partition was written anew without what was deleted from it",
            topic=self._topic, partition=number, bytes_before=before, bytes_after=after,
            seconds=round(took_s, 3),
        )  # fmt: skip
        self._tell(event)

    # --- mirrors of others' partitions --------------------------------------------------------------------------------

    async def _remove(self, number: int) -> None:
        """Delete a mirror, unless it has what its topic has not; whoever wants to open it waits."""
        done = self._closing[number] = asyncio.get_running_loop().create_future()
        try:
            mirror = await asyncio.to_thread(Mirror.open_unused, self._base, self._topic, number)
            if mirror is not None and await self._is_needed(mirror):
                await asyncio.to_thread(mirror.close)
            elif mirror is not None:
                await asyncio.to_thread(mirror.remove)
                log.info(
                    "Removed the local mirror of a partition of another worker", topic=self._topic, partition=number
                )
                self._tell(MirrorRemoved(self._topic, number))
        except (PipelineError, OSError) as error:
            log.warning(
                "A local mirror that is not needed cannot be removed",
                topic=self._topic, partition=number, error=str(error),
            )  # fmt: skip
        finally:
            del self._closing[number]
            done.set_result(None)

    async def _is_needed(self, mirror: Mirror) -> bool:
        """Whether it has what its topic has not, or may have: then it is looked at again when its time is over anew."""
        number = mirror.partition
        try:
            difference = await self._difference(mirror)
        except (PipelineError, KafkaError, OSError, TimeoutError) as error:
            log.info(
                "A local mirror that is not needed is kept for now: what its topic has is not known",
                topic=self._topic, partition=number, error=str(error) or type(error).__name__,
            )  # fmt: skip
            return True
        if difference is None or not difference.is_last_copy:
            return False
        log.warning(
            "The local mirror of a partition of another worker is kept: it holds more than the topic",
            topic=self._topic, partition=number, facts=difference.facts, records=difference.records,
            because=difference.why,
        )  # fmt: skip
        return True

    async def _difference(self, mirror: Mirror) -> Difference | None:
        if not mirror.next_offset:
            return None
        try:
            async with asyncio.timeout(0 if self._stopping else ANSWER_WITHIN_S) as self._answer:
                async with Changelog.open(self._settings, frozenset({mirror.partition})) as changelog:
                    _, differing = await differences(changelog, {mirror.partition: mirror})
        finally:
            self._answer = None
        return differing.get(mirror.partition)
