"""Faust's consumer, delivering one `RecordBatch` a partition and poll instead of four tasks a record.

What Faust does well stays Faust's: subscription, assignment, flow control, rebalance call-backs, other topics.
Replaced at its own seams: how records of the batch topics reach the agent, which offset is next, what is committed.
The internals that this module leans on are listed in tests/kafka/test_pins.py. It stays one module, since one class
must override all of these methods of Faust's consumer, and each polled chunk passes several of them.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.conductor import Conductor
from faust.transport.consumer import RecordMap, ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode import Service

from pipeline import logs
from pipeline.errors import ContractViolationError, PipelineError
from pipeline.kafka.events import ChunkAcknowledged, ChunkDelivered, GapSeen, LogRestarted, SoughtBack
from pipeline.kafka.fetched import answered_for
from pipeline.kafka.records import LOG_APPEND_TIME
from pipeline.kafka.worker.batches import DoneBits, More, RecordBatch
from pipeline.kafka.worker.commits import Committed, Committer
from pipeline.kafka.worker.consumer_thread import ConsumerThread, RebalanceListener, Starts
from pipeline.kafka.worker.done_ahead import Witness, digest_of
from pipeline.kafka.worker.handover import COMMIT_S
from pipeline.kafka.worker.inheritance import trusted
from pipeline.kafka.worker.log_bounds import LogBounds
from pipeline.kafka.worker.positions import Drop, Positions, Restart, SeekBack, Take
from pipeline.kafka.worker.topic_absence import TopicReturn
from pipeline.kafka.worker.watermarks import PartitionWatermark, Watermarks
from pipeline.tasks import BackgroundTask, OnEnd

if TYPE_CHECKING:
    from pipeline.kafka.worker.app import BatchApp

CHUNK_RECORDS: Final = 1000
"""Largest batch. A poll may bring more; an agent that maps 5,000 records in one go would hold the loop for 150 ms."""

COMMITS: Final = BackgroundTask("offset commits", OnEnd.CRASH)

log = logs.get(__name__)
offset_of = attrgetter("offset")


class Consumer(driver.Consumer):
    """Faust's consumer on the event loop."""

    app: BatchApp
    _thread: ConsumerThread
    RebalanceListener = RebalanceListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.positions = Positions()
        self.watermarks = Watermarks()
        self._prepared: Starts | None = None
        self._unseen: set[TP] = set()
        self._passed_over: dict[TP, range] = {}
        self._emptied: dict[TP, int] = {}
        super().__init__(*args, **kwargs)
        self.committer = Committer(self.watermarks, self._store, self.app.tell)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def explained(self, error: BaseException) -> BaseException:
        """The error for the operator when the brokers refuse something for good, else `error`."""
        return self._thread.explained(error)

    def missed(self, topics: Iterable[str]) -> None:
        """These topics are not there: their partitions went."""
        for topic in topics:
            self._thread.absences.missed(topic)

    def returned(self, topics: Collection[str]) -> list[TopicReturn]:
        """Which of these topics, whose records flow now, were away before."""
        return self._thread.absences.flowing(topics)

    @property
    def _conductor(self) -> Conductor:
        return cast("Conductor", self.app.topics)

    # --- positions -----------------------------------------------------------------------------------------------

    async def prepare_seek(self) -> None:
        """Ask where the partitions begin, ahead of `perform_seek`.

        Faust gives the seek a time limit, and ends its recovery for ever when it passes: the worker would stay a
        member that reads nothing. A broker that is slow right after a rebalance must not do that.
        """
        starts = await self._thread.starts()
        mine = {tp: one for tp, one in starts.ahead.items() if self.is_batch(tp.topic)}
        self._prepared = starts._replace(ahead=await trusted(self.app.settings, mine) if mine else {})

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every partition to where it begins, offset 0 and partitions without a commit included."""
        if self._prepared is None:
            await self.prepare_seek()
        starts, committed, anew, ahead = cast("Starts", self._prepared)
        self._prepared = None
        self._thread.refused.clear()
        await self._thread.seek_wait(starts)
        mine = {tp: start for tp, start in starts.items() if self.is_batch(tp.topic)}
        self.positions.restart(mine)
        self._unseen &= mine.keys()
        self._emptied.clear()
        unstored = [tp for tp in mine if (committed.get(tp) or 0) < mine[tp] or committed.get(tp) is None]
        self.watermarks.restart(self.app.consumer_generation_id, mine, unstored, ahead)
        for tp, one in sorted(ahead.items()):
            log.info(
                "Done beyond the committed offset before this worker began here, and not done again",
                topic=tp.topic, partition=tp.partition, committed_offset=one.base, records=one.count,
            )  # fmt: skip
        if unstored:
            self.committer.moved()
        for tp in sorted(anew.keys() & mine.keys()):
            log.warning(
                "A topic was made anew under its name: what the group had read of the other one counts for nothing",
                topic=tp.topic, partition=tp.partition, expected_offset=anew[tp], found_offset=mine[tp],
            )  # fmt: skip
            self.app.tell(LogRestarted(tp.topic, tp.partition, anew[tp], mine[tp]))
        return cast("Mapping[TP, int]", committed)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing that still arrives is delivered; what was delivered can be handed over."""
        self.positions.forget()
        self._prepared = None
        await super().on_partitions_revoked(revoked)

    # --- delivery ------------------------------------------------------------------------------------------------

    def is_batch(self, topic: str) -> bool:
        """Whether the topic is delivered in batches; the others are Faust's."""
        return topic in self.app.batch_topics

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """Deliver one poll: batches straight to the agents' queues, records of other topics to Faust's loop."""
        polled, _ = await self._wait_next_records(timeout)
        if self.should_stop:
            return
        others: dict[TP, list[Any]] = {}
        for tp, records in (polled or {}).items():
            if not records:
                continue
            if not self.is_batch(tp.topic):
                others[tp] = records
            elif self.flow_active and self.positions.wanted(ensure_TP(tp)) is not None:
                await self._deliver(ensure_TP(tp), records)
            else:
                self._unseen.add(ensure_TP(tp))
        if self.flow_active:
            self._pass_over_what_gave_nothing()
            self._pass_over_what_was_deleted()
            if self._unseen:
                await self._read_again()
        async for item in self._one_by_one(others):
            yield item

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109 - as above
        try:
            return await super()._getmany(active_partitions, timeout)
        except KafkaError as error:
            raise self.explained(error) from None

    async def _one_by_one(self, polled: RecordMap) -> AsyncIterator[tuple[TP, Message]]:
        """Faust's own delivery (`Consumer.getmany`), for records that were polled already."""
        if polled and not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:  # noqa: BLE001 - as Faust: a rebalance took the partitions, and will seek
                log.warning("Seek outside of the flow failed", error=repr(error))
            return
        generation = self.app.consumer_generation_id
        for tp, record in self.scheduler.iterate(polled):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield tp, self._to_message(tp, record)

    async def _deliver(self, tp: TP, records: Sequence[Any]) -> None:
        first, last = records[0].offset, records[-1].offset
        known_from, known_to = answered_for(records)
        match self.positions.judge(
            tp, first, last, self._thread.end_offset(tp), known_from, refused=self._thread.refused.get(tp)
        ):
            case Drop():
                return
            case SeekBack(offset):
                await self._seek_back(tp, offset)
                return
            case Restart(start, expected):
                log.warning(
                    "A partition ended below what was read: the topic was made anew or cut; reading it from its start",
                    topic=tp.topic, partition=tp.partition, expected_offset=expected, found_offset=start,
                )  # fmt: skip
                self.app.tell(LogRestarted(tp.topic, tp.partition, expected, start))
                self.watermarks.restart_partition(tp, start)
                self._thread.refused.pop(tp, None)
            case Take(start, expected):
                if start > expected:
                    self._lost(tp, expected, start)
                if start > first:
                    records = records[bisect_left(records, start, key=offset_of) :]
        watermark = self.watermarks.of(tp)
        watermark.saw(Witness(last, digest_of(records[-1])))
        if watermark.inherited is not None:
            records = watermark.inherited.left_of(records)
        end = self._thread.readable_end(tp)
        for begin in range(0, len(records), CHUNK_RECORDS):
            chunk = records[begin : begin + CHUNK_RECORDS]
            if not await self._put(tp, chunk, end):
                return
        wanted = self.positions.wanted(tp)  # not behind `last` where the last records were done before
        self._pass_over(tp, last + 1 if wanted is None else min(wanted, last + 1), known_to)

    def _pass_over_what_gave_nothing(self) -> None:
        """Move past what a poll found to hold nothing for readers; it brought no records that could show it."""
        for tp in self.positions.partitions:
            passed = self._thread.passed_over(tp)
            if passed and passed is not self._passed_over.get(tp):  # once: the log may be another one later
                self._passed_over[tp] = passed
                self._pass_over(tp, passed.start, passed.stop)

    async def log_bounds(self) -> dict[TP, LogBounds]:
        """Where the logs of our partitions of batch topics begin and end."""
        return {tp: one for tp, one in (await self._thread.log_bounds()).items() if self.is_batch(tp.topic)}

    def emptied(self, starts: Mapping[TP, int]) -> None:
        """These logs hold nothing, and begin at these offsets: what lay before may have been deleted unread."""
        self._emptied.update(starts)

    def _pass_over_what_was_deleted(self) -> None:
        """Report the loss in logs that hold nothing more: no record will come that could show the gap.

        Here nothing is in anybody's hands between the driver and the agent's queue; what the driver has fetched and not
        given out yet is not lost, and comes first.
        """
        for tp in list(self._emptied):
            wanted, start = self.positions.wanted(tp), self._emptied.pop(tp)
            if wanted is not None and wanted < start and not self._thread.has_fetched(tp):
                self._lost(tp, wanted, start)
                self._pass_over(tp, wanted, start)

    def _lost(self, tp: TP, expected: int, found: int) -> None:
        log.warning(
            "Records are lost: the topic's retention, or somebody, deleted them before they were read",
            topic=tp.topic, partition=tp.partition, records=found - expected,
            expected_offset=expected, found_offset=found,
        )  # fmt: skip
        self.app.tell(GapSeen(tp.topic, tp.partition, expected, found))

    def _pass_over(self, tp: TP, start: int, stop: int) -> None:
        wanted = self.positions.wanted(tp)
        if wanted is None or not self.positions.pass_over(tp, start, stop):
            return
        watermark = self.watermarks.of(tp)
        if watermark.pass_over(wanted, stop):
            self._moved(watermark)

    async def _put(self, tp: TP, chunk: Sequence[Any], end: int | None) -> bool:
        """Put one chunk before the agent; False when the flow stopped first, and nothing happened."""
        generation = self.app.consumer_generation_id
        first, last = chunk[0].offset, chunk[-1].offset
        watermark = self.watermarks.of(tp)
        behind = max(end - last - 1, 0) if end is not None else 0
        batch = RecordBatch(
            tp, chunk, generation, partial(self._acknowledge, watermark, first, last), behind,
            report=partial(self._report, watermark, first, last),
        )  # fmt: skip
        message = ConsumerMessage(
            tp.topic, tp.partition, last, chunk[-1].timestamp / 1000.0, chunk[-1].timestamp_type,
            None, None, None, None, tp=tp, generation_id=generation,
        )  # fmt: skip
        (channel,) = self._conductor._tp_index[tp]  # noqa: SLF001 - the conductor's callback would decode a record
        watermark.deliver(first, last)  # before the put: the agent may acknowledge before we run again
        if not await self._offer(channel.queue, self.app.create_event(None, batch, {}, message)):
            watermark.withdraw()
            return False
        self.positions.delivered(tp, last)
        dated_ms = chunk[-1].timestamp if chunk[-1].timestamp_type == LOG_APPEND_TIME else None
        self.app.tell(
            ChunkDelivered(
                tp.topic, tp.partition, first, last, len(chunk), end, generation, dated_ms,
                chunk[0].timestamp, chunk[-1].timestamp,
            )
        )  # fmt: skip
        return True

    async def _offer(self, queue: Any, event: Any) -> bool:
        """Wait for room in the queue, or for the end of the flow, whichever comes first; whether it was put."""
        if not self.flow_active:
            return False
        if not queue.full():
            queue.put_nowait(event)
            return True
        put = asyncio.ensure_future(queue.put(event))
        suspended = asyncio.ensure_future(self.suspend_flow.wait())
        try:
            await asyncio.wait({put, suspended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            suspended.cancel()
            if not put.done():
                put.cancel()
        return put.done() and not put.cancelled()  # clearing the queues cancels a waiting put

    async def _read_again(self) -> None:
        """Seek the partitions of which a poll was dropped while nothing flowed, for the driver is past its records.

        A poll that began before a rebalance can return after the seek to the new positions and before the flow
        resumes. The gap would show with the partition's next record, but in a quiet topic none comes.
        """
        for tp in list(self._unseen):
            wanted = self.positions.wanted(tp)
            if wanted is None or not self.flow_active:
                continue  # keep it in mind: the seek that gives it a position may have been overtaken as well
            self._unseen.discard(tp)
            try:
                await self._thread.seek_wait({tp: wanted})
            except (IllegalStateError, TimeoutError) as error:
                log.info("Seek back failed", topic=tp.topic, partition=tp.partition, error=repr(error))
            else:
                self.app.tell(SoughtBack(tp.topic, tp.partition, wanted))

    async def _seek_back(self, tp: TP, offset: int) -> None:
        try:
            await self._thread.seek_wait({tp: offset})
        except (IllegalStateError, TimeoutError) as error:
            # The partition is being taken away; whoever gets it seeks. Else the next chunk shows the same gap.
            log.info("Seek back failed", topic=tp.topic, partition=tp.partition, error=repr(error))
            return
        self.positions.sought(tp, offset)
        self.app.tell(SoughtBack(tp.topic, tp.partition, offset))

    async def sleep(self, n: Any) -> None:
        """Faust's; before each poll it lets others run, for which a task, a timer and an exception are too much."""
        if n:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's loop around `getmany`; a fetcher that is cancelled because the worker stops just ends.

        When the cancellation reached Faust's fetcher during a rebalance it would crash the worker, which stops the
        queue that the pending revocation waits for: no exit within 40 s, the group blocked all the while.
        """
        try:
            await super()._drain_messages(fetcher)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    # --- acknowledgement -----------------------------------------------------------------------------------------

    def _acknowledge(self, watermark: PartitionWatermark, first: int, last: int, through: int) -> None:
        if not self.watermarks.is_live(watermark):
            return
        try:
            moved = watermark.acknowledge(first, last, through)
        except ContractViolationError as violation:
            # Raising alone is not enough: in a completion callback the loop would log it and go on.
            self.app.crash_soon(violation)
            raise
        if moved:
            self._moved(watermark)

    def _report(self, watermark: PartitionWatermark, first: int, last: int, done_bits: DoneBits) -> More:
        watermark.ask(first, last, done_bits)
        return self.committer.moved

    def _moved(self, watermark: PartitionWatermark) -> None:
        tp, generation = watermark.tp, self.watermarks.generation
        self.app.tell(ChunkAcknowledged(tp.topic, tp.partition, watermark.next_offset, generation))
        self.committer.moved()

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent failed and the worker will crash: commit what is done while the group can still be reached."""
        await self.commit_quickly()
        await super().on_task_error(exc)

    async def commit_quickly(self) -> None:
        """Commit what is acknowledged, if the broker takes it at once; a refusal is no news to who is ending anyway."""
        with suppress(TimeoutError, PipelineError):
            async with asyncio.timeout(COMMIT_S):
                await self.committer.commit()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Faust's commit, of other topics."""
        return not self._thread.ended and await super()._commit(offsets)

    async def _store(self, offsets: Mapping[TP, int], generation: int, notes: Mapping[TP, str]) -> Committed:
        return await self._thread.commit_fenced(offsets, generation, notes)

    async def notes(self, topic: str) -> dict[TP, str] | None:
        """The group's notes beside the committed offsets of `topic`, None when they cannot be read now."""
        return await self._thread.notes(topic)

    @Service.task
    async def _commit_watermarks(self) -> None:
        await self.app.background().hold(COMMITS, self.committer.run, may_end=lambda: self.should_stop)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's livelock check knows only its own commits; it would report every batch topic as stuck."""
        if not self.is_batch(tp.topic):
            super().verify_event_path(now, tp)


class Transport(driver.Transport):
    """Faust's aiokafka transport with this consumer."""

    Consumer = Consumer
