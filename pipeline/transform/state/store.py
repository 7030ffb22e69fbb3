"""The state of the partitions that this worker owns: mirrors opened, restored, put before the flow, and closed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.types import TP

from pipeline import logs, private
from pipeline.errors import BrokerUnreachableError, StateError
from pipeline.incidents import Incident
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.transform.state.border import Warnings, is_fact, sift
from pipeline.transform.state.changelog import Changelog
from pipeline.transform.state.changes import Change, collapse
from pipeline.transform.state.disk import unusable
from pipeline.transform.state.events import GapRead, StateEvent
from pipeline.transform.state.facts import BEGAN, merge_at
from pipeline.transform.state.headers import HEADERS
from pipeline.transform.state.memory import mapped_bytes
from pipeline.transform.state.mirror import Measure, Mirror
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.ownership import Ownership
from pipeline.transform.state.partitions import check_written, partitions_now
from pipeline.transform.state.restoration import Restoration, began_at_ms
from pipeline.transform.state.slot import sweep
from pipeline.transform.state.upkeep import Upkeep

DIRECTORY: Final = "state"
RETRY_S: Final = 0.5

MAX_ANEW: Final = 3
"""Times that a mirror is begun anew before a restore comes to its end. What breaks them all is not in the files."""

CLOSING: Final = BackgroundTask("mirror closing", OnEnd.TELL, returns=True)

T = TypeVar("T")

log = logs.get(__name__)


class Sender(Protocol):
    """What the store writes with (`kafka.producer.BatchProducer`)."""

    async def send(self, topic: str, record: OutRecord, *, partition: int | None = None) -> tuple[int, int]:
        """Send one record; its partition and offset when durable."""


class Store:
    """The customers' state of one worker.

    `restore` is the app's `on_assigned`, `keep` tells which partitions are ours once records flow. Belongs to the
    event loop.

    Args:
        settings: data directory, topic, brokers.
        producer: writes the record with which a partition's state begins.
        tell: hears what happened.
        background: runs what goes on beside the assignments.
    """

    def __init__(
        self,
        settings: Settings,
        producer: Sender,
        tell: Callable[[StateEvent], None],
        background: Tasks | None = None,
    ) -> None:
        self._settings = settings
        self._topic = settings.customers_topic
        self._base = settings.data_dir / DIRECTORY
        self._producer = producer
        self._tell = tell
        self._mirrors: dict[int, Mirror] = {}
        self._shelves: dict[int, MirroredShelf] = {}
        self._wanted: set[int] = set()
        self._tasks = Tasks()
        self._closing: dict[int, asyncio.Future[None]] = {}
        self._restoration: Restoration | None = None
        self._partitions: int | None = None
        self._anew: Counter[int] = Counter()  # mirrors that were found broken since the last restore that ended
        self._upkeep = Upkeep(
            settings, self._base, shelves=self._shelves, wanted=self._wanted, closing=self._closing,
            tasks=background or Tasks(), tell=tell,
        )  # fmt: skip
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="restore")

    async def start(self) -> None:
        """Make ready.

        Raises:
            SettingsError: the data directory cannot be used.
        """
        mapped_bytes()  # what this process has mapped before the first mirror
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
        """Bring the state of these partitions of the webhooks up to date; what stays is only read on from where it was.

        May be cancelled at any moment.

        Raises:
            TopicError: the topic cannot be read, or its facts were written under another number of partitions.
            SettingsError: the data directory cannot be used.
            StateError: a mirror breaks whenever it is made anew.
        """
        partitions = sorted(tp.partition for tp in assigned if tp.topic == self._settings.webhooks_topic)
        self._want(partitions)
        self._give_up_shelves()
        self._release([number for number in self._mirrors if number not in partitions])
        if not partitions:
            self._upkeep.assigned()
            return
        self._restoration = restoration = Restoration(self._settings, self._write_began, self._in_thread, self._tell)
        try:
            await self._open(partitions)
            mirrors = {number: self._mirrors[number] for number in partitions}
            differing, total = await self._run(restoration, mirrors)
            self._partitions = total
            for number, mirror in mirrors.items():
                ownership = Ownership(number, total)
                shelf = self._shelves[number] = MirroredShelf(mirror, began_at_ms(mirror), ownership)
                for key in sorted(differing.get(number, ())):
                    value = mirror.get(key)
                    if value is None or is_fact(key, value):
                        shelf.write(key, value)
            self._upkeep.assigned()
        finally:
            self._restoration = None

    def keep(self, partitions: Collection[int]) -> None:
        """Close the mirrors of all other partitions, in the background."""
        self._want(partitions)
        gone = [number for number in self._mirrors if number not in partitions]
        self._give_up_shelves(gone)
        self._release(gone)

    def _want(self, partitions: Collection[int]) -> None:
        """Their files are for nobody else to touch, from before they are opened."""
        self._wanted.clear()
        self._wanted.update(partitions)

    def shelf(self, partition: int) -> MirroredShelf:
        """The facts of a partition that is ours."""
        return self._shelves[partition]

    async def _open(self, partitions: Collection[int]) -> None:
        """Open what is not open yet, several at once: to see whether a large file is whole takes a while."""
        if closing := [self._closing[number] for number in partitions if number in self._closing]:
            await asyncio.wait(closing)
        missing = [number for number in partitions if number not in self._mirrors]
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
                    mirror = future.result()
                    self._mirrors[mirror.partition] = mirror
        for future in opening:
            future.result()

    def _open_one(self, partition: int) -> Mirror:
        return Mirror.open(self._base, self._topic, partition)

    def _give_up_shelves(self, partitions: Collection[int] | None = None) -> None:
        for number in list(self._shelves if partitions is None else partitions):
            if shelf := self._shelves.pop(number, None):
                shelf.give_up()

    def _release(self, partitions: Collection[int]) -> None:
        for number in partitions:
            work = partial(asyncio.to_thread, _close, self._mirrors.pop(number))
            closing = self._closing[number] = self._tasks.start(CLOSING, work, which=number)
            closing.add_done_callback(partial(self._closed, number))

    def _closed(self, partition: int, closing: asyncio.Future[None]) -> None:
        if self._closing.get(partition) is closing:
            del self._closing[partition]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in the one thread; a cancelled caller waits for the end of it all the same, the mirror is in use."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise

    async def _write_began(self, partition: int, value: bytes) -> None:
        await self._producer.send(self._topic, OutRecord(BEGAN, value, HEADERS), partition=partition)

    async def _run(self, restoration: Restoration, mirrors: Mapping[int, Mirror]) -> tuple[dict[int, set[bytes]], int]:
        """What must be written again, and how many partitions there are."""
        incident = Incident(log, "The customers' state cannot be restored yet", "It was restored", topic=self._topic)
        while True:
            try:
                total = await self._count(max(mirrors) + 1)
                differing = await restoration.run(mirrors, total)
            except StateError as error:
                broken = [mirror for mirror in mirrors.values() if mirror.is_broken]
                if not broken:
                    raise
                for mirror in broken:
                    await self._begin_anew(mirror, error.__cause__ or error)
            except (KafkaError, BrokerUnreachableError) as error:
                if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                incident.failed(error)
                await asyncio.sleep(RETRY_S)
            else:
                incident.succeeded()
                self._anew.clear()
                return differing, total

    async def _begin_anew(self, mirror: Mirror, why: BaseException) -> None:
        if self._anew[mirror.partition] >= MAX_ANEW:
            raise StateError(
                f"the local mirror of {mirror.topic}/{mirror.partition} under {self._base} was begun anew {MAX_ANEW} "
                f"times and broke again ({why}): the disk or the memory of this machine fails, or something else "
                "writes there. See the kernel's log (dmesg), or name another directory in PIPELINE_DATA_DIR: the "
                "mirrors are built anew from the topic"
            )
        self._anew[mirror.partition] += 1
        await self._in_thread(partial(mirror.start_anew, str(why)))

    async def _count(self, at_least: int) -> int:
        """How many partitions there are; a broker that does not know of one of ours is behind."""
        while (total := await partitions_now(self._settings)) < at_least:  # noqa: ASYNC110 - the brokers tell
            await asyncio.sleep(RETRY_S)
        return total

    @property
    def partitions(self) -> int | None:
        """How many there were when ours were restored; None while there are none."""
        return self._partitions if self._shelves else None

    # --- gaps ---------------------------------------------------------------------------------------------------------

    async def read_gap(self, partition: int, shelf: MirroredShelf) -> None:
        """Take in what others have written between our facts, or of ours what the broker lost sight of.

        What differs is put again with the open chunk, so that it comes to lie on top. A fact that the topic takes away
        is taken away, unless it was put again since.
        """
        mirror, warnings = shelf.mirror, Warnings(self._topic, self._tell)
        changes: list[Change] = []
        records = 0
        async with Changelog.open(self._settings, frozenset({partition})) as changelog:
            end = (await changelog.bounds())[partition].stop
            async for piece in changelog.read({partition: range(mirror.next_offset, end)}):
                sifted = sift(piece.changes, piece.offsets)
                warnings.hear(partition, sifted)
                if sifted.began is not None and self._partitions is not None:
                    check_written(self._settings, sifted.began.value, self._partitions)
                changes += sifted.changes
                records += len(piece.changes)
        if shelf.is_given_up:
            return
        shelf.hear(collapse(changes, merge_at), merge_at)
        shelf.gap_read(end)
        log.warning(
            "Records of another owner lay between this worker's facts and were merged",
            topic=self._topic, partition=partition, records=records,
        )  # fmt: skip
        self._tell(GapRead(self._topic, partition, records))

    # --- watching -----------------------------------------------------------------------------------------------------

    @property
    def restoring(self) -> str | None:
        """What `/ready` says while a restore runs."""
        if self._restoration is None:
            return None
        places = self._restoration.places
        if not places:
            return f"restoring the customers' state from {self._topic}"
        number, place = min(places.items(), key=lambda item: item[1].share)
        left = sum(one.at < one.end for one in places.values())
        return (
            f"restoring the customers' state: partition {number} of {self._topic} is {place.share:.0%} done, "
            f"{left} of {len(places)} partitions are left"
        )

    def measures(self) -> Mapping[int, Measure]:
        """How large the mirrors of the owned partitions are, once their state is restored."""
        found = {number: shelf.mirror.measure() for number, shelf in self._shelves.items()}
        return {number: measure for number, measure in found.items() if measure is not None}

    def status(self) -> Mapping[str, Any]:
        """For `/status`: the partitions' mirrors, and how far a restore is."""
        places = self._restoration.places if self._restoration is not None else {}
        return {
            "restoring": self.restoring,
            "partitions": [
                {
                    "partition": number,
                    "next_offset": mirror.next_offset,
                    "restored": round(places[number].share, 4) if number in places else None,
                }
                for number, mirror in sorted(self._mirrors.items())
            ],
        }


def _close(mirror: Mirror) -> None:
    started = time.monotonic()
    try:
        mirror.close()
    except Exception as error:  # noqa: BLE001 - it is not marked as whole, and looked at when it is wanted again
        log.warning(
            "The local mirror of a partition was not closed in order",
            topic=mirror.topic, partition=mirror.partition, error=str(error),
        )  # fmt: skip
    else:
        log.info(
            "Closed the local mirror of a partition",
            topic=mirror.topic, partition=mirror.partition, seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
