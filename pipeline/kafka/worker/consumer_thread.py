"""aiokafka in its own thread, as Faust runs it: group membership, heartbeats, positions and commits as Kafka has them.

Subclasses of the driver's thread and rebalance listener. Everything in here runs on the thread's loop unless its
docstring names another. It stays one module, since one class must override all of these methods of the driver's thread;
what can be apart lies beside it (`done_ahead`, `joining`, `log_bounds`, `refused_offsets`, `static_member`,
`topic_absence`, `topic_watch`).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import aiokafka
from aiokafka.errors import (
    IllegalGenerationError,
    InvalidCommitOffsetSizeError,
    KafkaError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline import logs
from pipeline.errors import PipelineError, SettingsError
from pipeline.kafka.closing import close
from pipeline.kafka.cluster.topic_identity import marked, unmarked
from pipeline.kafka.followers import read_near
from pipeline.kafka.lifelines import lost
from pipeline.kafka.reach import explaining
from pipeline.kafka.readers import READ_COMMITTED
from pipeline.kafka.reconnect import steady
from pipeline.kafka.refusals import explained, unreadable
from pipeline.kafka.unpacking import passed_over, use_our_unpacking
from pipeline.kafka.worker.commits import Committed
from pipeline.kafka.worker.done_ahead import DoneAhead, parted
from pipeline.kafka.worker.fetch_pace import pace
from pipeline.kafka.worker.joining import JoinWatch
from pipeline.kafka.worker.log_bounds import LogBounds, ask_for_bounds
from pipeline.kafka.worker.membership import NOT_A_MEMBER, since_boot
from pipeline.kafka.worker.refused_offsets import note_refused
from pipeline.kafka.worker.static_member import StaticMember
from pipeline.kafka.worker.stored_offsets import hear_refusals
from pipeline.kafka.worker.topic_absence import Absences
from pipeline.kafka.worker.topic_watch import TopicWatch
from pipeline.settings import PREFIX
from pipeline.tasks import BackgroundTask, OnEnd, Tasks, catch_unheard

if TYPE_CHECKING:
    from pipeline.kafka.worker.app import BatchApp

FETCH_WAIT_MS: Final = 500
"""Kafka's default. Faust asks for 1,500 ms, and a partition that is not part of the waiting request waits with it."""

COORDINATION_LOOK_S: Final = 1.0
COORDINATION: Final = BackgroundTask("group coordination", OnEnd.CRASH)

NOTES_WITHIN_S: Final = 2.0
"""For the group's notes. What is older than a lease is of no use (`pipeline.sink.leases`)."""

NOTE_REFUSED: Final = (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError)
NO_NOTES: Final[Mapping[TP, str]] = {}

TOPICS_LOOKS: Final = 3
"""Looks at the coordination between two at the topics: one Metadata request of a topic or two every three seconds."""

T = TypeVar("T")

log = logs.get(__name__)


class Starts(NamedTuple):
    """Where an assignment begins.

    Attributes:
        offsets: the first record that each partition needs.
        committed: what the group has committed of the topic that is there; None: nothing.
        anew: what it had committed of another topic of the name, which counts for nothing.
        ahead: what is done beyond the committed offsets, as its writer recorded it; not yet compared with the records.
    """

    offsets: Mapping[TP, int]
    committed: Mapping[TP, int | None]
    anew: Mapping[TP, int]
    ahead: Mapping[TP, DoneAhead]


class RebalanceListener(driver.ConsumerRebalanceListener):
    """The driver's call-backs, run in its thread."""

    _thread: ConsumerThread

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Awaitable[None]:
        """Stop sending at once, in this thread; the event loop may be busy for a while."""
        self._thread.app.membership.suspend()
        return cast("Awaitable[None]", super().on_partitions_revoked(revoked))

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """A generation begins; the group has heard of us when we asked for it."""
        self._thread.app.membership.joined(self._thread.synced_at)
        self._thread.watch_partitions()
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The driver's thread: aiokafka lives here, with its own loop."""

    app: BatchApp
    _static: StaticMember | None = None
    _crashing = False
    _asked_no_more = False
    _marks_are_refused = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._topics = TopicWatch()
        self._joining = JoinWatch()
        self._polls: set[asyncio.Task[Any]] = set()
        self._asking = threading.Lock()
        self.refused: dict[TP, int] = {}
        self.synced_at = float("-inf")
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        use_our_unpacking()
        consumer = super()._create_worker_consumer(transport)
        steady(consumer._client)  # noqa: SLF001 - as below
        read_near(consumer, self.app.settings.kafka_client_rack)
        self.refused = note_refused(consumer._client)  # noqa: SLF001
        pace(consumer._client, self.app.fetch_pause)  # noqa: SLF001
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        consumer._isolation_level = READ_COMMITTED  # noqa: SLF001 - Faust's only comes with its own transactions
        return consumer

    async def on_start(self) -> None:
        """Connect; from here on the membership can be asked, and hears every heartbeat."""
        catch_unheard(self.thread_loop, crash=self._crash_worker, observers=self.app.transport_observers)
        with explaining(self.app.settings):
            await super().on_start()
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001 - aiokafka gives no way to ask for it
        hear_refusals(coordinator)
        heartbeat = coordinator._do_heartbeat  # noqa: SLF001

        async def noted_heartbeat() -> Any:
            sent_at = since_boot()
            alive = await heartbeat()
            if alive:
                self.app.membership.heartbeat(sent_at)
            return alive

        coordinator._do_heartbeat = noted_heartbeat  # noqa: SLF001
        self._note_syncs(coordinator)
        instance_id = self.app.settings.group_instance_id
        if instance_id is not None:
            self._static = StaticMember(coordinator, instance_id, self._when_fenced)
        self.app.membership.attach(self)

    def _note_syncs(self, coordinator: Any) -> None:
        """Keep the time at which this member asked for its partitions last; the answer may lie there for long."""
        send = coordinator._send_req  # noqa: SLF001 - all requests to the group go through it

        async def noted_send(request: Any) -> Any:
            if isinstance(request, SyncGroupRequest):
                self.synced_at = since_boot()
            return await send(request)

        coordinator._send_req = noted_send  # noqa: SLF001

    def watch_partitions(self) -> None:
        """Let a static member see for itself that a topic has more partitions: join again, which makes them known.

        aiokafka leaves that to the group's leader. A leader that is static and was restarted comes back as a follower,
        without a rebalance, and then nobody would look: records of a new partition would wait for ever.
        """
        if self._static is not None:
            consumer = self._ensure_consumer()
            coordinator = consumer._coordinator  # noqa: SLF001
            coordinator._group_subscription = set(consumer.subscription())  # noqa: SLF001 - what a leader watches
            coordinator._metadata_snapshot = coordinator._get_metadata_snapshot()  # noqa: SLF001

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:  # noqa: ARG002 - mode's signature
        """Log the crash; mode would print the traceback to stderr, past redaction."""
        error = sys.exc_info()[1]
        if not isinstance(error, PipelineError):  # those are reported by the worker
            log.error("The consumer's thread crashed", exc_info=error)

    @Service.task
    async def _watch_coordination(self) -> None:
        """Crash the worker when the group's coordination ended: it would be in no group, and log nothing.

        The same when one of the client's other tasks did. aiokafka keeps a refusal for whoever fetches next, and pauses
        until then; before the first assignment, and in every rebalance, nobody fetches.
        """
        tasks = Tasks(crash=self._crash_worker, observers=self.app.transport_observers)
        await tasks.hold(COORDINATION, self._look_again_and_again, may_end=lambda: self._crashing or self.should_stop)

    async def _look_again_and_again(self) -> None:
        looks = 0
        while not self.should_stop:
            await self.sleep(COORDINATION_LOOK_S)
            looks += 1
            if looks % TOPICS_LOOKS == 0 and self._consumer is not None:
                await self._topics.look(self._consumer, self.app.batch_topics)
            error = self._refusal()
            if error is not None and not self.should_stop:
                self._crash_worker(error)
                return

    def _crash_worker(self, error: BaseException) -> None:
        self._crashing = True
        self.parent_loop.call_soon_threadsafe(self.app.crash_soon, error)

    def _refusal(self) -> BaseException | None:
        if self._static is not None and self._static.is_fenced:
            return None  # `_when_fenced` has reported it
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator  # noqa: SLF001
        error = coordinator._pending_exception or lost(consumer)  # noqa: SLF001
        if error is None:
            error = self._joining.look(coordinator, has_begun=self.app.membership.rebalancing)
        if error is not None:
            return self.explained(error)
        # A topic that we may not see has no partitions: the group would give us nothing, as if we were too many.
        hidden = self.app.batch_topics & consumer._client.cluster.unauthorized_topics  # noqa: SLF001
        return unreadable(hidden) if hidden else None

    def explained(self, error: BaseException) -> BaseException:
        """The error for the operator when the brokers refuse something for good, else `error`; from any thread."""
        if self._static is not None and self._static.is_fenced:
            return self._fenced()
        return explained(error, self.app.conf.id, self.app.settings.session_timeout_seconds)

    def _when_fenced(self) -> None:
        self.app.membership.expel()
        self.parent_loop.call_soon_threadsafe(self.app.crash_soon, self._fenced())

    def _fenced(self) -> SettingsError:
        return SettingsError(
            f"{PREFIX}GROUP_INSTANCE_ID: another process has joined the consumer group {self.app.conf.id} under this "
            "name and has the partitions now: give each process of a stage a name of its own (of a StatefulSet, the "
            "pod's)"
        )

    async def crash(self, exc: BaseException) -> None:
        """Crash the worker; the one who waits for the start may be gone already, and is not missed."""
        running = self._thread_running
        if running is not None:
            self.parent_loop.call_soon_threadsafe(running.add_done_callback, _look_at_exception)
        await super().crash(exc)

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        """Poll once; from the event loop. One hop there, one back: Faust's queue of methods makes five tasks of it."""
        answer = self.parent_loop.create_future()
        consumer = self._ensure_consumer()
        with self._asking:
            if self._asked_no_more:
                answer.cancel()
            else:
                self.thread_loop.call_soon_threadsafe(self._begin_poll, answer, consumer, active_partitions, timeout)
        return await answer

    def _begin_poll(self, answer: asyncio.Future[Any], consumer: Any, partitions: Any, timeout: float) -> None:
        records = self._fetch_records(consumer, partitions, timeout=timeout, max_records=consumer._max_poll_records)  # noqa: SLF001
        poll = self.thread_loop.create_task(records)
        self._polls.add(poll)
        poll.add_done_callback(partial(self._polled, answer))

    def _polled(self, answer: asyncio.Future[Any], poll: asyncio.Task[Any]) -> None:
        self._polls.discard(poll)
        _look_at_exception(poll)  # the event loop may end before it hears of it: asyncio would print the error then
        with suppress(RuntimeError):  # the event loop is closed: nobody asks any more
            self.parent_loop.call_soon_threadsafe(_answer, answer, poll)

    def _end_polls(self) -> None:
        for poll in self._polls:
            poll.cancel()

    async def on_thread_stop(self) -> None:
        """Leave the group and stop reading; a broker that is away is not waited for."""
        self._end_polls()
        try:
            await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
            if self._consumer is not None:
                await close(self._consumer)
        finally:
            await self._answer_no_more()

    async def _answer_no_more(self) -> None:
        """Refuse what is asked from now on; mode cancels what is under way next, once.

        What came after that was lost with the loop, and who had asked waited until the grace of a stop was over.
        """
        with self._asking:
            self._asked_no_more = True
        await asyncio.sleep(0)  # what was asked before is a task then, and is found

    def _start_thread(self) -> None:
        with suppress(Exception):  # reported by `on_crash` and by the worker; the interpreter would print it once more
            super()._start_thread()

    def _stopped_set(self) -> None:
        if self.ended:  # a thread that crashed has closed its loop
            self._stopped.set()
        else:
            super()._stopped_set()

    @property
    def ended(self) -> bool:
        """Whether the thread can be asked nothing any more: it was stopped, or it crashed with the worker."""
        return self.thread_loop.is_closed()

    @property
    def generation(self) -> int:
        """The group's generation as the driver knows it now."""
        consumer = self._consumer
        return int(consumer._coordinator.generation) if consumer is not None else NOT_A_MEMBER  # noqa: SLF001

    @property
    def is_away(self) -> bool:
        """Whether the driver looks for the group's coordinator, and has not found a broker that is one."""
        consumer = self._consumer
        return consumer is not None and consumer._coordinator.coordinator_id is None  # noqa: SLF001

    def partitions_total(self, topic: str) -> int:
        """Partitions of the topic as the driver's metadata has them, 0 while unknown."""
        consumer = self._consumer
        return len(consumer._client.cluster.partitions_for_topic(topic) or ()) if consumer is not None else 0  # noqa: SLF001

    @property
    def absences(self) -> Absences:
        """Which of the topics are away or were."""
        return self._topics.absences

    async def starts(self) -> Starts:
        """Where each assigned partition begins."""
        found = await self._in_thread(self._starts())
        if found is None:
            raise asyncio.CancelledError
        return found

    async def _starts(self) -> Starts:
        consumer = self._ensure_consumer()
        partitions = list(consumer.assignment())
        stored = await consumer._coordinator.fetch_committed_offsets(partitions)  # noqa: SLF001
        ids = await self._topics.ask(consumer, {tp.topic for tp in partitions})
        committed: dict[TopicPartition, int | None] = {}
        anew: dict[TopicPartition, int] = {}
        ahead: dict[TP, DoneAhead] = {}
        for tp in partitions:
            offset = stored[tp].offset if tp in stored else None
            committed[tp] = offset
            topic_id, text = unmarked(stored[tp].metadata if tp in stored else None)
            done = parted(text)[0]
            if done is not None and done.base == offset and topic_id is not None and topic_id == ids.get(tp.topic):
                ahead[ensure_TP(tp)] = done
            was = topic_id or self._topics.ids.get(tp.topic)
            now = ids.get(tp.topic)
            if offset is not None and offset > 0 and was is not None and now is not None and was != now:
                anew[tp], committed[tp] = offset, None
        self._topics.ids = ids
        fresh = [tp for tp, offset in committed.items() if offset is None or offset < 0]
        earliest = await consumer.beginning_offsets(fresh) if fresh else {}
        starts = {ensure_TP(tp): earliest[tp] if tp in earliest else cast("int", committed[tp]) for tp in partitions}
        return Starts(
            starts,
            {ensure_TP(tp): offset for tp, offset in committed.items()},
            {ensure_TP(tp): offset for tp, offset in anew.items()},
            ahead,
        )

    async def notes(self, topic: str) -> dict[TP, str] | None:
        """The notes beside all committed offsets of the group in `topic`, None when they cannot be had at once."""
        return await self._in_thread(self._notes(topic))

    async def _notes(self, topic: str) -> dict[TP, str] | None:
        consumer = self._consumer
        if consumer is None:
            return None
        numbers = consumer._client.cluster.partitions_for_topic(topic) or ()  # noqa: SLF001
        partitions = [TopicPartition(topic, number) for number in numbers]
        try:
            # Not `fetch_committed_offsets`, which asks until there is an answer: by then it is of no use.
            asked = consumer._coordinator._do_fetch_commit_offsets(partitions)  # noqa: SLF001
            async with asyncio.timeout(NOTES_WITHIN_S):
                stored = await asked
        except (KafkaError, TimeoutError):
            return None
        notes = {ensure_TP(tp): parted(unmarked(one.metadata)[1])[1] for tp, one in stored.items()}
        return {tp: note for tp, note in notes.items() if note}

    async def commit_fenced(
        self, offsets: Mapping[TP, int], generation: int, notes: Mapping[TP, str] = NO_NOTES
    ) -> Committed:
        """One OffsetCommit, sent under `generation` or not at all; `notes` lie beside their partitions' offsets.

        aiokafka's own `commit` retries for as long as it takes and then sends under whatever generation it has by
        that time: after an outage it would store old offsets over those of the partition's new owner.
        """
        committed = await self._in_thread(self._commit_fenced(offsets, generation, notes))
        return Committed.UNAVAILABLE if committed is None else committed

    async def _commit_fenced(self, offsets: Mapping[TP, int], generation: int, notes: Mapping[TP, str]) -> Committed:
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator  # noqa: SLF001
        marks = {} if self._marks_are_refused else self._topics.ids
        request = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, marked(marks.get(tp.topic), notes.get(tp, "")))
            for tp, offset in offsets.items()
        }

        async def send_if_current() -> Committed:
            if generation <= 0 or coordinator.generation != generation:
                return Committed.STALE
            # From the comparison to the finished request nothing awaits, so it carries the generation just compared. In
            # a task of its own the request would begin a turn of the loop later, when a rebalance may have ended.
            await coordinator._do_commit_offsets(None, request)  # noqa: SLF001
            return Committed.STORED

        async with coordinator._commit_lock:  # noqa: SLF001
            sending = asyncio.ensure_future(send_if_current())
            sending.add_done_callback(_look_at_exception)
            try:
                return await asyncio.shield(sending)
            except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError):
                return Committed.STALE
            except KafkaError as error:
                if self._static is not None and self._static.is_fenced:
                    return Committed.STALE
                if notes and isinstance(error, NOTE_REFUSED):
                    return Committed.NOTE_REFUSED
                if marks and isinstance(error, NOTE_REFUSED):
                    self._marks_are_refused = True  # the same offsets come again, without
                    return Committed.UNAVAILABLE
                if not error.retriable:
                    raise self.explained(error) from None
                return Committed.UNAVAILABLE

    def end_offset(self, tp: TP) -> int | None:
        """The end offset of the partition's log in the last fetch's answer; None before one."""
        state = self._state(tp)
        return None if state is None else cast("int | None", state.highwater)

    def readable_end(self, tp: TP) -> int | None:
        """The same of what can be read: it stops at the first record of a transaction that is open."""
        state = self._state(tp)
        if state is None:
            return None
        stable = cast("int | None", state.lso)
        return self.end_offset(tp) if stable is None or stable < 0 else stable

    def passed_over(self, tp: TP) -> range | None:
        """Offsets before the driver's position of which polls brought nothing: there is nothing for readers."""
        state = self._state(tp)
        return None if state is None else passed_over(state)

    def has_fetched(self, tp: TP) -> bool:
        """Whether records of the partition were fetched that no poll has given out yet; from any thread."""
        fetcher = self._consumer._fetcher if self._consumer is not None else None  # noqa: SLF001
        return fetcher is not None and driver.ensure_aiokafka_TP(tp) in fetcher._records  # noqa: SLF001

    async def log_bounds(self) -> dict[TP, LogBounds]:
        """Where the logs of assigned partitions begin and end; those for which nobody answers are left out.

        Each is asked for alone: together, one partition without a leader would leave all of them without an answer.
        """
        return await self._in_thread(self._log_bounds()) or {}

    async def _log_bounds(self) -> dict[TP, LogBounds]:
        return {} if self._consumer is None else await ask_for_bounds(self._consumer)

    def _state(self, tp: TP) -> Any:
        """What aiokafka knows of an assigned partition, None without one; from any thread."""
        consumer = self._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None  # noqa: SLF001
        assignment = subscription.assignment if subscription is not None else None
        return assignment.state_value(tp) if assignment is not None else None

    async def _in_thread(self, call: Coroutine[Any, Any, T]) -> T | None:
        """Run `call` on the thread's loop; unlike the method queue (two workers) it cannot be blocked by others.

        None: the thread ended before there was an answer. It cancels what it has under way then, and whoever asked was
        cancelled by nobody.
        """
        try:
            with self._asking:
                if self._asked_no_more:
                    call.close()
                    return None
                asked = asyncio.run_coroutine_threadsafe(call, self.thread_loop)
        except RuntimeError:  # its loop is closed: it never came to run
            call.close()
            return None
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return None


def _answer(answer: asyncio.Future[Any], poll: asyncio.Task[Any]) -> None:
    """On the event loop: what a poll brought, for who asked. Nobody may any more."""
    if poll.cancelled():
        answer.cancel()
    elif (error := poll.exception()) is not None:
        if not answer.done():
            answer.set_exception(error)
    elif not answer.done():
        answer.set_result(poll.result())


def _look_at_exception(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
