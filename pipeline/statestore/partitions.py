"""The state stores of the partitions that are assigned to this worker: opened, restored, handed out and closed.

It is one class since it is one state machine: each step of an assignment may be overtaken by the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP

from pipeline import logs, private
from pipeline.errors import BrokerUnreachableError, StateError
from pipeline.incidents import Incident
from pipeline.kafka.reach import is_passing
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.cleanup import Cleanup
from pipeline.statestore.directory import sweep
from pipeline.statestore.disk import unusable
from pipeline.statestore.events import RestoreCalledOff, StateEvent
from pipeline.statestore.gaps import read_gap
from pipeline.statestore.lmdb_store import LmdbStore, Measure
from pipeline.statestore.memory import mapped_bytes
from pipeline.statestore.ownership import Ownership
from pipeline.statestore.partition_count import partitions_now
from pipeline.statestore.restore import Restore, began_at_ms
from pipeline.statestore.schema import Schema
from pipeline.statestore.transaction import TransactionalStore
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

DIRECTORY: Final = "state"
RETRY_S: Final = 0.5

MAX_ANEW: Final = 3
"""Times that a store is begun anew before a restore comes to its end. What breaks them all is not in the files."""

CLOSING: Final = BackgroundTask("mirror closing", OnEnd.TELL, returns=True)

T = TypeVar("T")

log = logs.get(__name__)


class Sender(Protocol):
    """What the store writes with (`kafka.producer.BatchProducer`)."""

    async def send(self, topic: str, record: OutRecord, *, partition: int | None = None) -> tuple[int, int]:
        """Send one record; its partition and offset when durable."""


class PartitionStores:
    """The state stores of one worker.

    `restore` is the app's `on_assigned`; `keep` is called with our partitions once records flow. Belongs to the event
    loop.

    Args:
        settings: data directory, topic, brokers.
        schema: the form of keys and values.
        producer: writes the record with which a partition's state begins.
        tell: called with each event.
        background: runs what goes on beside the assignments.
    """

    def __init__(
        self,
        settings: Settings,
        schema: Schema,
        producer: Sender,
        tell: Callable[[StateEvent], None],
        background: Tasks | None = None,
    ) -> None:
        self._settings = settings
        self._schema = schema
        self._topic = settings.customers_topic
        self._base = settings.data_dir / DIRECTORY
        self._producer = producer
        self._tell = tell
        self._local_stores: dict[int, LmdbStore] = {}
        self._stores: dict[int, TransactionalStore] = {}
        self._wanted: set[int] = set()
        self._tasks = Tasks()
        self._closing: dict[int, asyncio.Future[None]] = {}
        self._restore: Restore | None = None
        self._partitions: int | None = None
        self._anew: Counter[int] = Counter()  # stores that were found broken since the last restore that ended
        self._upkeep = Cleanup(
            settings, self._base, schema, stores=self._stores, wanted=self._wanted, closing=self._closing,
            tasks=background or Tasks(), tell=tell,
        )  # fmt: skip
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="restore")

    async def start(self) -> None:
        """Make ready.

        Raises:
            SettingsError: the data directory cannot be used.
        """
        mapped_bytes()  # what this process has mapped before the first store
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            raise unusable(self._base, error) from None

    def _prepare(self) -> None:
        private.directory(self._base)
        for topic in self._base.iterdir():
            if topic.is_dir():
                sweep(topic)

    async def stop(self) -> None:
        """Close everything, so that the next start finds it whole."""
        await self._upkeep.stop()
        self.keep(())
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        self._executor.shutdown(wait=False)

    # --- assignments --------------------------------------------------------------------------------------------------

    async def restore(self, assigned: Collection[TP], generation: int) -> None:  # noqa: ARG002 - `OnAssigned`
        """Restore these partitions of the input topic; one that stays is only read on from where it was.

        May be cancelled at any moment.

        Raises:
            TopicError: the topic cannot be read, or its records were written under another number of partitions.
            SettingsError: the data directory cannot be used.
            StateError: a store breaks whenever it is made anew.
        """
        partitions = sorted(tp.partition for tp in assigned if tp.topic == self._settings.webhooks_topic)
        self._want(partitions)
        self._give_up_stores()
        self._release([number for number in self._local_stores if number not in partitions])
        if not partitions:
            self._upkeep.assigned()
            return
        self._restore = running = Restore(self._settings, self._schema, self._write_began, self._in_thread, self._tell)
        try:
            await self._open(partitions)
            local_stores = {number: self._local_stores[number] for number in partitions}
            self._partitions = total = await self._run(running, local_stores)
            for number, local in local_stores.items():
                ownership = Ownership(number, total)
                store = self._stores[number] = TransactionalStore(local, began_at_ms(local), ownership)
                for key in local.differing():
                    value = local.get(key)
                    if value is None or self._schema.is_readable(key, value):
                        store.write(key, value)
            self._upkeep.assigned()
        except BaseException:
            self._tell(RestoreCalledOff(self._topic))
            raise
        finally:
            self._restore = None

    def keep(self, partitions: Collection[int]) -> None:
        """Close the stores of all other partitions, in the background."""
        self._want(partitions)
        gone = [number for number in self._local_stores if number not in partitions]
        self._give_up_stores(gone)
        self._release(gone)

    def _want(self, partitions: Collection[int]) -> None:
        """Their files are for nobody else to touch, from before they are opened."""
        self._wanted.clear()
        self._wanted.update(partitions)

    def store(self, partition: int) -> TransactionalStore:
        """The store of a partition that is ours."""
        return self._stores[partition]

    async def _open(self, partitions: Collection[int]) -> None:
        """Open what is not open yet, several at once: to see whether a large file is whole takes a while."""
        if closing := [self._closing[number] for number in partitions if number in self._closing]:
            await asyncio.wait(closing)
        missing = [number for number in partitions if number not in self._local_stores]
        opening = [asyncio.ensure_future(asyncio.to_thread(self._open_one, number)) for number in missing]
        if not opening:
            return
        try:
            await asyncio.wait(opening)
        except asyncio.CancelledError:
            await asyncio.wait(opening)  # what was opened is there for the next restore
            raise
        finally:
            for future in opening:
                if future.done() and not future.exception():
                    local = future.result()
                    self._local_stores[local.partition] = local
        for future in opening:
            future.result()

    def _open_one(self, partition: int) -> LmdbStore:
        return LmdbStore.open(self._base, self._topic, partition, self._schema)

    def _give_up_stores(self, partitions: Collection[int] | None = None) -> None:
        for number in list(self._stores if partitions is None else partitions):
            if store := self._stores.pop(number, None):
                store.give_up()

    def _release(self, partitions: Collection[int]) -> None:
        for number in partitions:
            work = partial(asyncio.to_thread, _close, self._local_stores.pop(number))
            closing = self._closing[number] = self._tasks.start(CLOSING, work, which=number)
            closing.add_done_callback(partial(self._closed, number))

    def _closed(self, partition: int, closing: asyncio.Future[None]) -> None:
        if self._closing.get(partition) is closing:
            del self._closing[partition]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in the one thread; a cancelled caller waits for the end of it all the same, the store is in use."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise

    async def _write_began(self, partition: int, value: bytes) -> None:
        await self._producer.send(self._topic, OutRecord(BEGAN, value, self._schema.headers), partition=partition)

    async def _run(self, running: Restore, local_stores: Mapping[int, LmdbStore]) -> int:
        """Restore them; how many partitions there are."""
        incident = Incident(log, "The customers' state cannot be restored yet", "It was restored", topic=self._topic)
        while True:
            try:
                total = await self._count(max(local_stores) + 1)
                await running.run(local_stores, total)
            except StateError as error:
                broken = [local for local in local_stores.values() if local.is_broken]
                if not broken:
                    raise
                for local in broken:
                    await self._begin_anew(local, error.__cause__ or error)
            except (KafkaError, BrokerUnreachableError) as error:
                if not _may_pass(error):
                    raise
                incident.failed(error)
                await asyncio.sleep(RETRY_S)
            else:
                incident.succeeded()
                self._anew.clear()
                return total

    async def _begin_anew(self, local: LmdbStore, why: BaseException) -> None:
        if self._anew[local.partition] >= MAX_ANEW:
            raise StateError(
                f"the local mirror of {local.topic}/{local.partition} under {self._base} was begun anew {MAX_ANEW} "
                f"times and broke again ({why}): the disk or the memory of this machine fails, or something else "
                "writes there. See the kernel's log (dmesg), or name another directory in PIPELINE_DATA_DIR: the "
                "mirrors are built anew from the topic"
            )
        self._anew[local.partition] += 1
        await self._in_thread(partial(local.start_anew, str(why)))

    async def _count(self, at_least: int) -> int:
        """How many partitions there are; a broker that does not know of one of ours is behind."""
        while (total := await partitions_now(self._settings)) < at_least:  # noqa: ASYNC110 - only the brokers know it
            await asyncio.sleep(RETRY_S)
        return total

    @property
    def partitions(self) -> int | None:
        """How many there were when ours were restored; None while there are none."""
        return self._partitions if self._stores else None

    async def read_gap(self, partition: int, store: TransactionalStore) -> None:
        """Merge what others have written between our records, see `gaps`; until the partition goes, if need be.

        A broker that went away is what leaves such gaps: its answer where our records lie was lost.

        Raises:
            TopicError: the records are on their way to other partitions, or the topic cannot be read.
        """
        incident = Incident(
            log, "Customers' facts cannot be read yet", "They were read", topic=self._topic, partition=partition
        )
        while not store.is_given_up:
            try:
                await read_gap(self._settings, partition, store, self._partitions, self._tell)
            except (KafkaError, BrokerUnreachableError) as error:
                if not _may_pass(error):
                    raise
                incident.failed(error)
                await asyncio.sleep(RETRY_S)
            else:
                incident.succeeded()
                return

    # --- watching -----------------------------------------------------------------------------------------------------

    @property
    def restoring(self) -> str | None:
        """The reason that `/ready` gives while a restore runs."""
        if self._restore is None:
            return None
        progress = self._restore.progress
        if not progress:
            return f"restoring the customers' state from {self._topic}"
        number, slowest = min(progress.items(), key=lambda item: item[1].share)
        left = sum(one.at < one.end for one in progress.values())
        return (
            f"restoring the customers' state: partition {number} of {self._topic} is {slowest.share:.0%} done, "
            f"{left} of {len(progress)} partitions are left"
        )

    def measures(self) -> Mapping[int, Measure]:
        """How large the stores of the owned partitions are, once their state is restored."""
        found = {number: store.local.measure() for number, store in self._stores.items()}
        return {number: measure for number, measure in found.items() if measure is not None}

    def status(self) -> Mapping[str, Any]:
        """For `/status`: the partitions' stores, and how far a restore is."""
        progress = self._restore.progress if self._restore is not None else {}
        return {
            "restoring": self.restoring,
            "partitions": [
                {
                    "partition": number,
                    "next_offset": local.next_offset,
                    "restored": round(progress[number].share, 4) if number in progress else None,
                }
                for number, local in sorted(self._local_stores.items())
            ],
        }


def _may_pass(error: KafkaError | BrokerUnreachableError) -> bool:
    """Whether the same question may be answered a little later."""
    return not isinstance(error, KafkaError) or is_passing(error)


def _close(local: LmdbStore) -> None:
    started = time.monotonic()
    try:
        local.close()
    except Exception as error:  # noqa: BLE001 - it is not marked as whole, and looked at when it is wanted again
        log.warning(
            "The local mirror of a partition was not closed in order",
            topic=local.topic, partition=local.partition, error=str(error),
        )  # fmt: skip
    else:
        log.info(
            "Closed the local mirror of a partition",
            topic=local.topic, partition=local.partition, seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
