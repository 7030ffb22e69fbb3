"""The transform as a process: its Faust app built from settings, with its checks, its health port and its producer.

It is one module since it only wires: each part lies in a module of its own, and here one sees all that a worker has.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from faust.types import TP

from pipeline import logs
from pipeline.compiled import check_compiled
from pipeline.errors import PipelineError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes, max_message_bytes
from pipeline.kafka.cluster.start_checks import check_configs, check_rights
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.events import ProduceStalled
from pipeline.kafka.producer.aside import Aside
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.reach import BOOTSTRAP_WITHIN_S
from pipeline.kafka.worker.app import BatchApp
from pipeline.observers import tell
from pipeline.settings import PREFIX, Settings
from pipeline.statestore.events import RestoreAdvanced
from pipeline.statestore.metrics import observe_state, show_sizes
from pipeline.statestore.partition_count import PartitionWatch, check_equal
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.store import KeyValueStore
from pipeline.tasks import Tasks
from pipeline.telemetry.opening import counts_of, open_traces
from pipeline.transform.agent import add_agent
from pipeline.transform.customers.facts import MAX_FACT_BYTES
from pipeline.transform.customers.schema import CUSTOMERS, KINDS
from pipeline.transform.decision import Decision, judge
from pipeline.transform.enrichment import Enrichment
from pipeline.transform.flow import Flow, State
from pipeline.transform.mapping import map_webhook
from pipeline.transform.mapping.shaped import shown_ahead
from pipeline.transform.metrics import observe_transform
from pipeline.transform.policy import Policy
from pipeline.transform.product_lookups import ProductLookups
from pipeline.transform.product_names import FILE, ProductNames
from pipeline.transform.read_ahead import LookAhead
from pipeline.transform.recent import recent_of
from pipeline.transform.resolver import Resolver
from pipeline.transform.shadow import NoCandidate, Shadow
from pipeline.transform.shaping.applied import look_ahead
from pipeline.transform.shaping.hook import HookCalled
from pipeline.transform.shaping.loading import checked_shaper_of, files_of
from pipeline.transform.shaping.reloading import LiveShaper, ShadowLoaded, signature
from pipeline.transform.shaping.types import Shaper
from pipeline.transform.webhook import Reading, Webhook
from pipeline.watch.spans import show_spans
from pipeline.watch.worker import WorkerWatch

if TYPE_CHECKING:
    from pipeline.transform.spans import RecordSpans

DEAD_LETTER_HEADERS_BYTES: Final = 4096
"""What an envelope adds to a record at most: a reason and a field of 1,000 bytes each, and short headers."""

GC_THRESHOLDS: Final = (100_000, 50, 100)
"""Allocations before a young collection (Python's default is 700). A chunk of webhooks is 100,000 short-lived objects
without a cycle; looking through them again and again cost 12 % of the throughput."""

log = logs.get(__name__)

Decide = Callable[[Reading, KeyValueStore | None], Decision]


def create_app(settings: Settings) -> BatchApp:
    """The Faust app of the transform, ready to be run by a worker.

    Raises:
        SettingsError: a setting names something that cannot be used, such as the file of product names.
    """
    policy = Policy.of(settings)
    names = ProductNames(policy.product_names, settings.data_dir / FILE)
    policy = replace(policy, product_names=names)
    app = BatchApp(
        settings.transform_group, settings=settings, batch_topics=[settings.webhooks_topic], stage="transform"
    )
    watch = WorkerWatch(app)
    observe_transform(watch.metrics)
    watch.recent = recent_of(watch.metrics).events
    live = _live(settings, policy, watch, app.background())
    stalled = _stalled(watch, lambda: flow.held_up())  # noqa: PLW0108 - there is no flow yet
    producer = BatchProducer(settings, observers=[watch.metrics, watch.clock, stalled], may_write=app.membership.heard)
    store = _store(settings, producer, watch, app.background()) if settings.state else None

    enrichment = _enrichment(settings, policy, watch) if store is not None else None
    lookups = _lookups(settings, names, watch)

    aside = _aside(settings, watch, app.background())
    beside = _beside(settings, policy, watch, app.background(), aside)

    spans = _spans(settings, watch, app)

    def deciding() -> Decide:
        now = policy if live is None else replace(policy, shaper=live.shaper)

        def decided(reading: Reading, store: KeyValueStore | None) -> Decision:
            return judge(reading, now, map_webhook, store)

        return decided if beside is None else beside.shadow.beside(decided, beside.candidate.shaper)

    flow = Flow(
        deciding(),
        producer,
        operations_topic=settings.operations_topic,
        dead_letters_topic=settings.dead_letters_topic,
        observe=watch.metrics,
        fail=app.crash_soon,
        state=State(store, settings.customers_topic, app.membership) if store is not None else None,
        may_send=app.membership.may_send,
        is_lost=app.membership.is_lost,
        enrichment=enrichment,
        lookups=lookups,
        current=deciding if live is not None or beside is not None else None,
        look_ahead=_look_ahead(settings, policy, live),
        spans=spans,
    )

    async def start_producer() -> None:
        await producer.start()
        await producer.prime(*_outputs(settings))
        gc.freeze()  # modules and settings live as long as the process
        gc.set_threshold(*GC_THRESHOLDS)

    app.before_start(partial(_check, settings))
    app.companion(start_producer, producer.stop)
    if store is not None:

        def known() -> int | None:
            return store.partitions if app.membership.heard() else None  # brokers that are away show nothing

        growth = PartitionWatch(settings, known, app.background())
        app.companion(store.start, store.stop)
        app.companion(growth.start, growth.stop)

    async def assigned(partitions: set[TP], generation: int) -> None:
        await producer.renew()
        if store is not None:
            await store.restore(partitions, generation)

    app.on_assigned = assigned
    if enrichment is not None:
        app.companion(_at_once, enrichment.close)
    if live is not None:
        app.companion(live.start, live.stop)
    if beside is not None:
        app.companion(beside.candidate.start, beside.candidate.stop)
    if aside is not None:
        app.companion(aside.start, aside.stop)
    if lookups is not None:
        app.companion(lookups.start, lookups.close)
    app.set_handover(flow)
    add_agent(app, flow)
    return app


def _look_ahead(settings: Settings, policy: Policy, live: LiveShaper | None) -> LookAhead | None:
    """Shows webhooks to the recipes before they are decided, where there are some."""
    if settings.javascript is None:
        return None

    def show(readings: Sequence[Reading]) -> None:
        shaper = policy.shaper if live is None else live.shaper
        if shaper is not None:
            look_ahead(shaper, [shown_ahead(one) for one in readings if type(one) is Webhook])

    return show


def _live(settings: Settings, policy: Policy, watch: WorkerWatch, background: Tasks) -> LiveShaper | None:
    """What shapes operations, exchanged when its files change; None where nothing does."""
    if policy.shaper is None:
        return None
    read = signature(files_of(settings))
    shaper = checked_shaper_of(settings, observe=watch.metrics)
    if shaper is None:
        return None
    return LiveShaper(settings, shaper, background, partial(tell, (watch.metrics,)), read=read)


class _Beside(NamedTuple):
    """The candidate that runs beside what is live, exchanged when its file changes, and what tries it."""

    candidate: LiveShaper
    shadow: Shadow


def _beside(
    settings: Settings, policy: Policy, watch: WorkerWatch, background: Tasks, aside: Aside | None
) -> _Beside | None:
    """What PIPELINE_SHADOW_RULES names, in place of the live rules; one that cannot be used stops nobody."""
    if settings.shadow_rules is None:
        return None
    candidate = settings.model_copy(update={"rules": settings.shadow_rules})
    names = (f"{PREFIX}SHADOW_RULES",)
    shaper: Shaper
    read = signature(files_of(candidate))
    try:
        shaper = checked_shaper_of(candidate) or NoCandidate()
    except PipelineError as error:
        log.warning(
            "The candidate beside the live rules cannot be used: mend the file, it is read again by itself",
            reason="; ".join(str(error).splitlines()), settings=names,
        )  # fmt: skip
        shaper = NoCandidate()

    def observe(event: object) -> None:
        if not isinstance(event, HookCalled):  # the live shaper calls the same function, and reports it
            tell((watch.metrics,), event)

    loading = LiveShaper(candidate, shaper, background, observe, loaded=ShadowLoaded, names=names, read=read)
    shadow = Shadow(policy, partial(tell, (watch.metrics,)), None if aside is None else aside.put)
    return _Beside(loading, shadow)


def _aside(settings: Settings, watch: WorkerWatch, background: Tasks) -> Aside | None:
    if settings.shadow_rules is None or settings.shadow_topic is None:
        return None
    return Aside(settings, settings.shadow_topic, background, partial(tell, (watch.metrics,)))


def _stalled(watch: WorkerWatch, held_up: Callable[[], set[TP] | None]) -> Callable[[object], None]:
    """An observer of the producer: brokers that do not take records are no standstill of whoever waits for them."""

    def observe(event: object) -> None:
        if isinstance(event, ProduceStalled):
            watch.progress.attempted(held_up())

    return observe


def _store(settings: Settings, producer: BatchProducer, watch: WorkerWatch, background: Tasks) -> PartitionStores:
    def advanced(event: object) -> None:
        if isinstance(event, RestoreAdvanced):
            watch.progress.attempted()  # a long restore is no standstill

    observe_state(watch.metrics, KINDS)
    store = PartitionStores(settings, CUSTOMERS, producer, partial(tell, (watch.metrics, advanced)), background)
    show_sizes(watch.metrics, store.measures)
    watch.restoring = lambda: store.restoring
    watch.details = lambda: {"state": store.status()}
    return store


def _enrichment(settings: Settings, policy: Policy, watch: WorkerWatch) -> Enrichment | None:
    """Look-ups of customers at Dodo, where there is a key for them."""

    def brokers_time_s() -> float:
        return time.time() - (watch.clock.ahead_s or 0.0)  # an answer dated ahead would win over webhooks to come

    resolver = Resolver.of(settings, observers=[watch.metrics], unix=brokers_time_s)
    if resolver is None:
        return None
    return Enrichment(resolver, policy, partial(tell, (watch.metrics,)))


def _lookups(settings: Settings, names: ProductNames, watch: WorkerWatch) -> ProductLookups | None:
    """Names of products from Dodo, where there is a key for it."""
    observe = partial(tell, (watch.metrics,))
    return ProductLookups.of(settings, names, observe=observe, observers=[watch.metrics])


def _spans(settings: Settings, watch: WorkerWatch, app: BatchApp) -> RecordSpans | None:
    """What makes traces, where they are on."""
    traces = open_traces(settings, "transform")
    show_spans(watch.metrics, counts_of(traces))
    if traces is None:
        return None
    from pipeline.transform.spans import RecordSpans

    app.companion(_at_once, traces.stop)
    return RecordSpans(traces, settings.transform_group, settings.operations_topic)


async def _at_once() -> None:
    """Nothing to start."""


def _outputs(settings: Settings) -> tuple[str, ...]:
    outputs = (settings.operations_topic, settings.dead_letters_topic)
    # Commands to the owners of people go back into the topic that we read.
    return (*outputs, settings.customers_topic, settings.webhooks_topic) if settings.state else outputs


def run(overrides: Mapping[str, Any]) -> NoReturn:
    """Run the transform until a signal or a crash, then exit; `overrides` are settings given as flags."""
    from pipeline.kafka.worker.process import run_worker

    settings = Settings.load(**overrides)
    sys.exit(run_worker(create_app(settings), settings))


async def _check(settings: Settings) -> None:
    """What must hold before the group is joined: the rights, that the topics exist and match, and what fits into them.

    Raises:
        TopicError: a right or a topic is missing, or a topic takes too little or would lose what lies in it.
        BrokerUnreachableError: no broker answered.
    """
    check_compiled("transform")
    topics = tuple(dict.fromkeys((settings.webhooks_topic, *_outputs(settings))))
    async with open_admin(settings, connect_within_s=BOOTSTRAP_WITHIN_S) as admin:
        await check_rights(settings, "transform", admin=admin)
        partitions = await check_topics(settings, topics, admin=admin)
        await check_configs(settings, topics, admin=admin)
        if settings.state:
            check_equal(settings, partitions[settings.webhooks_topic], partitions[settings.customers_topic])
        await check_sizes(settings, settings.operations_topic, settings.dead_letters_topic, admin=admin)
        if settings.state:
            await check_sizes(settings, settings.customers_topic, record_bytes=MAX_FACT_BYTES, admin=admin)
        limits = await max_message_bytes(settings, (settings.webhooks_topic, settings.dead_letters_topic), admin=admin)
    webhooks, dead_letters = limits.get(settings.webhooks_topic), limits.get(settings.dead_letters_topic)
    if webhooks is None or dead_letters is None:
        log.warning(
            "Whether every webhook would fit into the dead letters is unknown: this user lacks the ACL "
            "DESCRIBE_CONFIGS on a topic",
            webhooks_topic=settings.webhooks_topic,
            dead_letters_topic=settings.dead_letters_topic,
        )
    elif dead_letters < webhooks + DEAD_LETTER_HEADERS_BYTES:
        log.warning(
            "A webhook at the size limit of its topic would not fit into the dead letters, which would keep its place "
            "alone: raise max.message.bytes there (dodo-cio topics plan)",
            webhooks_topic=settings.webhooks_topic,
            webhooks_max_bytes=webhooks,
            dead_letters_topic=settings.dead_letters_topic,
            dead_letters_max_bytes=dead_letters,
        )
