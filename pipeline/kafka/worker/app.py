"""A Faust app whose topics arrive as record batches: the shape of transform and sink.

Everything that makes Faust safe to run is set here, so that `faust -A … worker` and `dodo-cio …` start the same
thing. It stays one module, since one class must override all of these methods of Faust's app.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from pipeline import logs
from pipeline import settings as ours
from pipeline.errors import ContractViolationError, PipelineError, SettingsError
from pipeline.incidents import Incident
from pipeline.kafka.events import RebalanceEnded, RebalanceStarted, TopicResumed, TransportEvent
from pipeline.kafka.reach import is_passing
from pipeline.kafka.worker.fetch_pace import Pause
from pipeline.kafka.worker.handover import COMMIT_S, GRACE_S, HandOver, hand_over
from pipeline.kafka.worker.lifespan import Companions, Step
from pipeline.kafka.worker.membership import Membership
from pipeline.kafka.worker.options import QUEUED_CHUNKS, Boot, FaustSettings, faust_options
from pipeline.kafka.worker.topic_absence import RESUMES_WITHIN_S
from pipeline.kafka.worker.transport import Consumer, Transport
from pipeline.observers import tell
from pipeline.settings import PREFIX, Stage
from pipeline.tasks import Tasks, catch_unheard

LOOK_S: Final = 0.2
"""How often a running restore is compared with the membership."""

RESTART_S: Final = 30.0
"""What a pod's restart may take, with scheduling and image."""

RETRY_S: Final = 0.5
FETCH_PAUSE_S: Final = 0.005
"""Between an answer and the next fetch, where a stage does not know better: what a webhook may be late by."""

CANCEL_S: Final = 5.0
"""For a restore that was overtaken by the next rebalance to end; one that ignores this is left behind."""

OnAssigned = Callable[[set[TP], int], Awaitable[None]]
Observer = Callable[[TransportEvent], None]

log = logs.get(__name__)


class BatchApp(faust.App):
    """A Faust app that reads `batch_topics` as `RecordBatch`es.

    An agent is written as usual, and acknowledges for itself:

        @app.agent(app.topic(name, key_type=bytes, value_type=bytes))
        async def read(stream):
            async for event in stream.noack().events():
                batch = event.value

    Each batch topic has one agent. It never raises for data: an exception ends the process with exit code 1, and Kafka
    redelivers.
    """

    BootStrategy = Boot
    Settings = FaustSettings

    def __init__(
        self,
        id: str,  # noqa: A002 - Faust's name for the consumer group
        *,
        settings: ours.Settings,
        batch_topics: Sequence[str],
        stage: Stage,
        handover: HandOver | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings
        self.stage = stage
        self.batch_topics = frozenset(batch_topics)
        self.membership = Membership(settings.session_timeout_seconds, is_static=settings.group_instance_id is not None)
        self.transport_observers: list[Observer] = []
        self.on_assigned: OnAssigned | None = None
        self.fetch_pause: Pause = lambda answered_at: answered_at + FETCH_PAUSE_S
        self._handover = handover
        self._handover_lock = asyncio.Lock()
        self._handed_over = asyncio.Event()
        self._checks: list[Step] = []
        self._companions = Companions()
        self._went_at: float | None = None
        super().__init__(id, **{**faust_options(settings), **options})
        self.on_rebalance_complete.connect(self._when_assigned, weak=False)

    # --- what a stage adds ---------------------------------------------------------------------------------------

    def before_start(self, check: Step) -> None:
        """Run `check` before the worker joins the group; a `PipelineError` ends it with its message and exit code."""
        self._checks.append(check)

    def companion(self, start: Step, stop: Step) -> None:
        """Keep something for the life of the worker: started after the checks and before the group is joined,
        stopped last."""  # noqa: D205, D209 - one sentence
        self._companions.add(start, stop)

    def set_handover(self, handover: HandOver) -> None:
        """Let `handover` end its work whenever partitions go."""
        self._handover = handover

    def topic(self, *topics: str, **options: Any) -> Any:
        """As Faust's; a batch topic is bounded in chunks, and acknowledged through its batches alone."""
        if not self.batch_topics.intersection(topics):
            return super().topic(*topics, **options)
        topic = super().topic(*topics, **{**options, "acks": False})
        topic.maxsize = QUEUED_CHUNKS  # Faust's own method takes the argument and drops it: 4,096 chunks would queue
        return topic

    # --- events --------------------------------------------------------------------------------------------------

    def tell(self, event: TransportEvent) -> None:
        """Hand `event` to every observer; one that fails is logged and counted, and does not stop the flow."""
        tell(self.transport_observers, event)

    def crash_soon(self, error: BaseException) -> None:
        """End the process with `error`, from code that cannot await; what is acknowledged is committed before."""
        self.add_future(self._crash_after_commit(error))

    def background(self) -> Tasks:
        """Make a supervisor of tasks: it reports their ends to the observers, and some of them end the worker."""
        return Tasks(crash=self.crash_soon, observers=self.transport_observers)

    async def _crash_after_commit(self, error: BaseException) -> None:
        # A crash takes the consumer's thread with it at once, and the hand-over at the stop comes too late to commit.
        try:
            await self._batch_consumer.commit_quickly()
        finally:
            await self.crash(error)

    # --- life ----------------------------------------------------------------------------------------------------

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def on_init_dependencies(self) -> Iterable[Any]:
        """The companions, then Faust's services."""
        return [self._companions, *super().on_init_dependencies()]

    def _create_directories(self) -> None:
        try:
            self.conf.datadir.mkdir(parents=True, exist_ok=True)
            super()._create_directories()
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}DATA_DIR: {self.settings.data_dir} cannot be used ({error.strerror}): name a directory "
                "that this user may write"
            ) from None

    async def on_start(self) -> None:
        """Check what a worker needs, before anything else is started."""
        await super().on_start()
        catch_unheard(asyncio.get_running_loop(), crash=self.crash_soon, observers=self.transport_observers)
        settings = self.settings
        if settings.group_instance_id and settings.session_timeout_seconds < RESTART_S:
            log.warning(
                "A restart longer than the session moves the partitions of a worker with an instance id after all: "
                "raise PIPELINE_SESSION_TIMEOUT_SECONDS",
                session_timeout_seconds=settings.session_timeout_seconds,
            )
        for check in self._checks:
            await check()

    # --- rebalances ----------------------------------------------------------------------------------------------

    @property
    def _batch_consumer(self) -> Consumer:
        consumer = self.consumer
        if not isinstance(consumer, Consumer):
            raise ContractViolationError("the app's consumer is not ours")
        return consumer

    def on_rebalance_start(self) -> None:
        """Call when partitions are about to go; runs in the consumer's thread."""
        if self._went_at is None:
            self._went_at = time.monotonic()
        super().on_rebalance_start()

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.membership.suspend()
        if self.should_stop:
            # The stop hands over as well. Let it commit under this generation before the driver asks for a new one.
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S + COMMIT_S):
                    await self._handed_over.wait()
            return
        self.tell(RebalanceStarted(self.consumer_generation_id))
        await super()._on_partitions_revoked(revoked)

    def _on_rebalance_when_stopped(self) -> None:
        """Do nothing: Faust would close the driver's client, from the wrong thread, under the last commit."""

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:  # noqa: ARG002 - Faust's signature
        """Hand over; Faust calls this on revocation and at stop, with the queues cleared and the partitions still ours.

        Its signals are too late: what is acknowledged was forgotten by then.
        """
        async with self._handover_lock:
            batches = self._batch_consumer
            # A crash has given the partitions away already, with the consumer's thread: to wait would save nothing.
            grace_s = 0.0 if self.crashed else GRACE_S
            try:
                ended = await hand_over(self._handover, batches.watermarks, self._last_commit, grace_s)
            finally:
                if self.should_stop:
                    self._handed_over.set()
            self.tell(ended)
            log.info(
                "Partitions handed over",
                generation=ended.generation, drained=ended.drained, committed=ended.committed,
                unfinished=ended.unfinished, seconds=round(ended.took_s, 3),
            )  # fmt: skip

    async def _last_commit(self) -> None:
        """Commit before the partitions go. What the brokers refuse for good ends a worker that is not ending yet.

        One that is has logged why. Faust's stop would break off at an error: its agents would be cancelled, and what
        they log of that would take the place of the reason.
        """
        try:
            await self._batch_consumer.committer.commit()
        except PipelineError:
            if not (self.should_stop or self.crashed):
                raise
            log.info("The last commit was refused; what is not committed is read again")

    async def _stop_consumer(self) -> None:
        try:
            await super()._stop_consumer()
        finally:
            self._handed_over.set()  # a worker without partitions has nothing to hand over

    async def _when_assigned(self, *_: Any, **__: Any) -> None:
        """Restore, find the positions, resume the stage; Faust holds the flow meanwhile and heartbeats go on."""
        generation, rebalances = self.consumer_generation_id, self.rebalancing_count

        def current() -> bool:
            same = self.consumer_generation_id == generation and self.rebalancing_count == rebalances
            return same and not self.should_stop

        assigned = frozenset(self.consumer.assignment())
        if assigned:
            await _while_true(current, self._outlast_namesakes())
            await _while_true(current, self._restore(set(assigned), generation))
            await _while_true(current, self._find_positions(current))
        if not current():
            return
        if self._handover is not None:
            self._handover.resume(generation, assigned)
        self.membership.resume(generation, assigned)
        took_s = time.monotonic() - self._went_at if self._went_at is not None else 0.0
        self._went_at = None
        self.tell(RebalanceEnded(generation, assigned, took_s))
        for back in self._batch_consumer.returned({tp.topic for tp in assigned}):
            self.tell(TopicResumed(back.topic, back.away_s, back.resumed_s))
            say = log.info if back.resumed_s <= RESUMES_WITHIN_S else log.warning
            say(
                "A topic is back, and its records flow",
                topic=back.topic, away_seconds=round(back.away_s, 1), resumed_seconds=round(back.resumed_s, 1),
            )  # fmt: skip
        if (gone := self.gone()) and not assigned:
            self._batch_consumer.missed(gone)
            log.error("A topic has no partitions: was it deleted? (dodo-cio topics check)", topics=gone)
        log.info("Partitions assigned", generation=generation, partitions=len(assigned), seconds=round(took_s, 3))

    def gone(self) -> list[str]:
        """The topics that this worker reads and that have no partitions, as far as its client knows."""
        return sorted(topic for topic in self.batch_topics if not self.membership.partitions_total(topic))

    async def _outlast_namesakes(self) -> None:
        """Wait for whoever acted under a static name of the group before, and may not know yet that it is another's.

        Before the restore: what such a process still writes must be read by it.
        """
        if (wait_s := self.membership.namesakes_s()) > 0:
            log.info("Waiting until no former process of a name in this group can act", seconds=round(wait_s, 1))
        while self.membership.namesakes_s() > 0:  # noqa: ASYNC110 - only time shows it
            await asyncio.sleep(LOOK_S)

    async def _restore(self, assigned: set[TP], generation: int) -> None:
        if self.on_assigned is not None:
            await self.on_assigned(assigned, generation)

    async def _find_positions(self, current: Callable[[], bool]) -> None:
        incident = Incident(log, "Committed offsets cannot be read yet", "Committed offsets were read")
        while current():
            try:
                await self._batch_consumer.prepare_seek()
            except KafkaError as error:
                if not is_passing(error):
                    raise self._batch_consumer.explained(error) from None
                incident.failed(error)
                await asyncio.sleep(RETRY_S)
            else:
                incident.succeeded()
                return


async def _while_true(condition: Callable[[], bool], work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, or until `condition` no longer holds."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done() and condition():
            await asyncio.wait({task}, timeout=LOOK_S)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_S)
    if task.done() and not task.cancelled():
        task.result()
