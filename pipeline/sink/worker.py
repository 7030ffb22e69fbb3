"""The sink as a process: its Faust app built from settings, with its checks, its health port, client and producer."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from faust.types import TP

from pipeline import logs
from pipeline.compiled import check_compiled
from pipeline.customerio.client import Response, TrackClient
from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.workspace import credentials
from pipeline.errors import DeliveryError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes
from pipeline.kafka.cluster.start_checks import check_configs, check_rights
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.events import ProduceStalled
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.reach import BOOTSTRAP_WITHIN_S
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.notes import Notes
from pipeline.settings import Settings
from pipeline.sink.agent import add_agent
from pipeline.sink.connection import connect
from pipeline.sink.letters import HEADERS_BYTES
from pipeline.sink.metrics import observe_sink, show_sink
from pipeline.sink.recent import recent_of
from pipeline.sink.removals import LookAhead, Removals
from pipeline.sink.sink import Observer, Sink
from pipeline.sink.unsaying import Unsaying
from pipeline.telemetry.opening import counts_of, open_traces
from pipeline.watch.spans import show_spans
from pipeline.watch.worker import WorkerWatch

FETCH_PAUSE_S: Final = 0.01
"""The longest pause between an answer of the brokers and the next fetch."""

FETCH_LEAD_S: Final = 0.004
"""How long before the next request's turn its operations are fetched; some 2 ms are needed."""

log = logs.get(__name__)

GC_THRESHOLD: Final = (50_000, 20, 100)
"""A record and its headers are some ten objects without cycles, and tens of thousands of them wait: with Python's own
threshold an eighth of the processor's time goes into looking at them. Request bodies are in no cycle (`client`)."""


class SinkProcess:
    """What `create_app` wires: the parts that need a running loop come to life with the worker."""

    def __init__(self, settings: Settings) -> None:
        credentials(settings)
        self._settings = settings
        self._client: TrackClient | None = None
        self._partitions = 0
        self.app = BatchApp(
            settings.sink_group, settings=settings, batch_topics=[settings.operations_topic], stage="sink"
        )
        self._watch = WorkerWatch(self.app)
        self._producer = BatchProducer(settings, observers=[self._watch.metrics, self._watch.clock, self._stalled])
        removals = Removals()
        self._unsaying = Unsaying(self._producer, settings.webhooks_topic) if settings.refusals_are_told else None
        self.sink = Sink(
            post=self._post,
            producer=self._producer,
            dead_letters_topic=settings.dead_letters_topic,
            membership=self.app.membership,
            partitions_total=self._partitions_total,
            requests_per_second=settings.customerio_requests_per_second,
            lanes=settings.lanes,
            patience_s=settings.undeliverable_after_seconds,
            crash=self.app.crash_soon,
            observers=[self._watch.metrics, *self._spans()],
            board=Notes(self.app, settings.operations_topic) if settings.budget_lending else None,
            is_successor=settings.group_instance_id is not None,
            unsay=self._unsaying,
            removals=removals,
        )
        look_ahead = LookAhead(settings, removals, self._watch.progress.attempted, self.app.crash_soon)
        self.sink.handover.on_begin.append(look_ahead.stop)

        async def assigned(partitions: set[TP], generation: int) -> None:  # noqa: ARG001 - `OnAssigned`
            await look_ahead(tp.partition for tp in partitions if tp.topic == settings.operations_topic)

        self.app.on_assigned = assigned
        self.app.fetch_pause = self._fetch_pause
        self._watch.attended = self.sink.custody.attended
        self._watch.fault = lambda: self.sink.gate.fault
        self._watch.holding = lambda: self.sink.gate.holding
        observe_sink(self._watch.metrics, settings.lanes)
        show_sink(self._watch.metrics, self.sink)
        self._watch.details = self._details
        self._watch.recent = recent_of(self._watch.metrics).events
        self.app.before_start(self._check)
        self.app.companion(self._connect, self._disconnect)
        self.app.companion(self._start_producer, self._producer.stop)
        self.app.companion(self.sink.start, self.sink.stop)
        self.app.set_handover(self.sink.handover)
        add_agent(self.app, self.sink)

    def _spans(self) -> list[Observer]:
        """What makes traces, where they are on."""
        traces = open_traces(self._settings, "sink")
        show_spans(self._watch.metrics, counts_of(traces))
        if traces is None:
            return []
        from pipeline.sink.spans import OperationSpans

        self.app.companion(traces.start, traces.stop)
        return [OperationSpans(traces, self._settings.sink_group)]

    async def _check(self) -> None:
        """What must hold before the group is joined: the rights, the topics, and that dead letters fit into theirs.

        Raises:
            TopicError: a right or a topic is missing, or a topic takes too little.
            BrokerUnreachableError: no broker answered.
        """
        check_compiled("sink")
        operations, dead_letters = self._settings.operations_topic, self._settings.dead_letters_topic
        async with open_admin(self._settings, connect_within_s=BOOTSTRAP_WITHIN_S) as admin:
            await check_rights(self._settings, "sink", admin=admin)
            found = await check_topics(self._settings, (operations, dead_letters), admin=admin)
            await check_configs(self._settings, (operations, dead_letters), admin=admin)
            self._partitions = found[operations]
            largest = ITEM_MAX_BYTES + HEADERS_BYTES
            await check_sizes(self._settings, dead_letters, record_bytes=largest, admin=admin)

    async def _connect(self) -> None:
        def waits_for(what: str | None) -> None:
            self._watch.waiting_for = what

        self._client = await connect(self._settings, waits_for=waits_for, stopping=lambda: self.app.should_stop)
        if self._client is not None:
            log.info("Customer.io takes the credentials", url=self._client.base_url)

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _start_producer(self) -> None:
        await self._producer.start()
        await self._producer.prime(self._settings.dead_letters_topic)
        if self._unsaying is not None:
            await self._unsaying.prime()
        gc.freeze()  # modules and settings live as long as the process
        gc.set_threshold(*GC_THRESHOLD)

    async def _post(self, body: bytes) -> Response:
        if self._client is None:
            raise DeliveryError("the connection to Customer.io is not open")
        return await self._client.send_batch(body, self.app.membership.heard)

    def _details(self) -> dict[str, Any]:
        """What `/status` shows of the sink."""
        budget = self.sink.budget
        return {
            "budget": {
                "share_per_second": budget.share_per_second,
                "lent_per_second": budget.lent_per_second,
                "borrowed_per_second": budget.borrowed_per_second,
                "per_second": budget.per_second,
                "used_per_second": budget.used_per_second,
                "factor": budget.factor,
            }
        }

    def _fetch_pause(self, answered_at: float) -> float:
        """Nobody needs more before the next request may leave."""
        return min(self.sink.budget.next_due - FETCH_LEAD_S, answered_at + FETCH_PAUSE_S)

    def _partitions_total(self) -> int:
        """Partitions of the topic as the driver knows them, or as the start check counted them."""
        return self.app.membership.partitions_total(self._settings.operations_topic) or self._partitions

    def _stalled(self, event: object) -> None:
        if isinstance(event, ProduceStalled):
            self.sink.custody.stalled()


def create_app(settings: Settings) -> BatchApp:
    """The Faust app of the sink, ready to be run by a worker.

    Raises:
        SettingsError: Customer.io's site id or API key is missing, or a Kafka setting cannot be used.
    """
    return SinkProcess(settings).app


def run(overrides: Mapping[str, Any]) -> NoReturn:
    """Run the sink until a signal or a crash, then exit; `overrides` are settings given as flags."""
    from pipeline.kafka.worker.process import run_worker

    settings = Settings.load(**overrides)
    sys.exit(run_worker(create_app(settings), settings))
