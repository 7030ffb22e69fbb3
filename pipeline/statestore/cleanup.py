"""Cleaning the state directory: what was deleted from a store leaves its file, and stores of others' partitions go.

A request to be forgotten is carried out for every reader at once, but the bytes stay in the file until it is written
anew. That happens `state_erase_after_seconds` after the first such deletion, for all that came meanwhile. A partition
that moves to another worker leaves its store behind; it is removed `state_keep_unowned_seconds` later. Both together,
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
from pipeline.statestore.changelog import Changelog
from pipeline.statestore.directory import empty_if_unused, unused
from pipeline.statestore.events import CompactionFailed, StateEvent, StoreCompacted, StoreRemoved
from pipeline.statestore.last_copy import TopicDifference
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.restore import differences
from pipeline.statestore.schema import Schema
from pipeline.statestore.transaction import TransactionalStore
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

LOOK_S: Final = 15.0
"""Between two looks. Each costs a few calls of the file system."""

AGAIN_S: Final = 300.0
"""After a compaction that failed: it fails for the disk, and each attempt writes what the disk has room for."""

ANSWER_WITHIN_S: Final = 5.0
"""For the brokers' answer whether the topic has what a store has. A partition that comes back waits for it."""

UPKEEP: Final = BackgroundTask("mirror upkeep", OnEnd.RESTART)

log = logs.get(__name__)


class Cleanup:
    """Looks after the files of one worker's stores, from the first assignment that was restored until `stop`.

    Args:
        settings: the times, the topic, the brokers.
        base: where the stores lie.
        schema: the form of keys and values.
        stores: those of the partitions that are ours, as they come and go.
        wanted: the partitions that are ours or about to be opened, as they come and go.
        closing: what works on the files of other partitions, for whoever wants to open them.
        tasks: runs it.
        tell: called with each event.
    """

    def __init__(
        self,
        settings: Settings,
        base: Path,
        schema: Schema,
        *,
        stores: Mapping[int, TransactionalStore],
        wanted: Collection[int],
        closing: MutableMapping[int, asyncio.Future[None]],
        tasks: Tasks,
        tell: Callable[[StateEvent], None],
    ) -> None:
        self._settings = settings
        self._topic = settings.customers_topic
        self._base = base
        self._schema = schema
        self._stores = stores
        self._wanted = wanted
        self._closing = closing
        self._tell = tell
        self._tasks = tasks
        self._assigned = self._stopping = False
        self._working = asyncio.Lock()
        self._copying: LmdbStore | None = None
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
        for number, store in sorted(self._stores.items()):
            if self._stopping:
                return
            if not store.is_given_up and self._is_due(number, store.local.remains_since_s):
                await self._compact(number, store)
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

    async def _compact(self, number: int, store: TransactionalStore) -> None:
        """Write the store's file anew: read as before, and committed to when it is over."""
        local, started = store.local, time.monotonic()
        since_s = local.remains_since_s
        with store.held():
            try:
                store.flush()
                before = local.size_bytes
                self._copying = local
                await asyncio.to_thread(local.copy)
                if store.is_given_up:
                    local.drop_copy()  # the partition moves or is restored anew, and is looked at again afterwards
                    return
                if not local.take_copy():
                    return
                after = local.size_bytes
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
        event = StoreCompacted(self._topic, number, before, after, waited_s, took_s)
        log.info(
            "The local mirror of a partition was written anew without what was deleted from it",
            topic=self._topic, partition=number, bytes_before=before, bytes_after=after,
            seconds=round(took_s, 3),
        )  # fmt: skip
        self._tell(event)

    # --- stores of others' partitions --------------------------------------------------------------------------------

    async def _remove(self, number: int) -> None:
        """Delete a local store, unless it has what its topic has not; whoever wants to open it waits."""
        done = self._closing[number] = asyncio.get_running_loop().create_future()
        try:
            local = await asyncio.to_thread(LmdbStore.open_unused, self._base, self._topic, number, self._schema)
            if local is not None and await self._is_needed(local):
                await asyncio.to_thread(local.close)
            elif local is not None:
                await asyncio.to_thread(local.remove)
                log.info(
                    "Removed the local mirror of a partition of another worker", topic=self._topic, partition=number
                )
                self._tell(StoreRemoved(self._topic, number))
        except (PipelineError, OSError) as error:
            log.warning(
                "A local mirror that is not needed cannot be removed",
                topic=self._topic, partition=number, error=str(error),
            )  # fmt: skip
        finally:
            del self._closing[number]
            done.set_result(None)

    async def _is_needed(self, local: LmdbStore) -> bool:
        """Whether it has what its topic has not, or may have: then it is looked at again when its time is over anew."""
        number = local.partition
        try:
            difference = await self._difference(local)
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
            topic=self._topic, partition=number, facts=difference.values, records=difference.records,
            because=difference.why,
        )  # fmt: skip
        return True

    async def _difference(self, local: LmdbStore) -> TopicDifference | None:
        if not local.next_offset:
            return None
        try:
            async with asyncio.timeout(0 if self._stopping else ANSWER_WITHIN_S) as self._answer:
                async with Changelog.open(self._settings, frozenset({local.partition}), self._schema) as changelog:
                    _, differing = await differences(changelog, {local.partition: local})
        finally:
            self._answer = None
        return differing.get(local.partition)
