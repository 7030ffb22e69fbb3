"""The ASGI application: the webhook path, and the pages of a process about itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pipeline import logs
from pipeline.compiled import check_compiled
from pipeline.dodo.signature import Verifier
from pipeline.ingest.endpoint import WebhookEndpoint
from pipeline.ingest.events import Observer, RecordsStored
from pipeline.ingest.journal import Journal
from pipeline.ingest.metrics import observe_ingest
from pipeline.ingest.openapi import OPENAPI_PATH, document
from pipeline.ingest.producer import BATCH_BYTES, MAX_RECORD_BYTES, DurableProducer
from pipeline.ingest.recent import recent_of
from pipeline.ingest.timeliness import Timeliness
from pipeline.ingest.workers.member import Member
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes
from pipeline.kafka.cluster.start_checks import check_configs, check_rights
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.reach import BOOTSTRAP_WITHIN_S
from pipeline.settings import Settings
from pipeline.tasks import Tasks
from pipeline.telemetry.opening import counts_of, open_traces
from pipeline.watch.clients import show_clients
from pipeline.watch.clock import Clock
from pipeline.watch.connections import observe_connections
from pipeline.watch.health import Health
from pipeline.watch.loop import LAG, LoopLag
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Look
from pipeline.watch.page.figures import families_of
from pipeline.watch.page.own import Own
from pipeline.watch.page.peers import Peers
from pipeline.watch.page.routes import Page
from pipeline.watch.spans import show_spans
from pipeline.watch.vitals import Verdict

if TYPE_CHECKING:
    from pipeline.ingest.spans import WebhookSpans
    from pipeline.telemetry.traces import Traces

log = logs.get(__name__)


def create_app(
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    clock: Callable[[], float] = time.time,
    member: Member | None = None,
) -> Starlette:
    """Ingest's application; its lifespan checks rights and topics, connects to Kafka, and flushes at the end.

    The pages of the process about itself are part of it, or with `admin_port` an application beside it: `state.admin`.

    Args:
        settings: of this process.
        observers: see ingest's events beside the metrics and the log.
        clock: seconds since the epoch.
        member: answers probes for all workers, when this process is one of several.

    Raises:
        SettingsError: no signing secret, or a malformed one. During the lifespan's start also TopicError and
            BrokerUnreachableError.
    """
    verifier = Verifier.of(settings, clock)
    metrics = Metrics("ingest")
    observe_ingest(metrics)
    observe_connections(metrics)
    show_clients(metrics, settings)
    timeliness, brokers_clock = Timeliness(), Clock(metrics, lambda: clock() * 1000)

    def dated(event: object) -> None:
        if isinstance(event, RecordsStored) and event.appended_at_ms is not None:
            brokers_clock.confirmed(event.appended_at_ms, min(event.seconds))

    watching: tuple[Observer, ...] = (metrics, Journal(), timeliness, dated, *observers)
    producer = DurableProducer(settings, watching)
    tasks = Tasks(observers=watching)
    traces = open_traces(settings, "ingest")
    show_spans(metrics, counts_of(traces))
    endpoint = WebhookEndpoint(
        verifier,
        producer,
        webhooks_topic=settings.webhooks_topic,
        dead_letters_topic=settings.dead_letters_topic,
        observers=watching,
        spans=None if traces is None else _spans(traces, settings),
        clock=clock,
    )

    stopping = asyncio.Event()

    def ready() -> Verdict:
        if stopping.is_set():
            return Verdict(ok=False, reason="stopping: webhooks belong to another process")
        trouble = producer.trouble or timeliness.trouble
        said = "Kafka answers" if brokers_clock.text is None else f"Kafka answers; {brokers_clock.text}"
        return Verdict(ok=trouble is None, reason=trouble or said)

    health = Health(
        metrics,
        ready=ready,
        live=producer.live,
        status=lambda: {"in_flight": endpoint.in_flight},
    )

    lag = LoopLag(metrics, health.beat)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        check_compiled("ingest")
        topics = (settings.webhooks_topic, settings.dead_letters_topic)
        async with open_admin(settings, connect_within_s=BOOTSTRAP_WITHIN_S) as admin:
            await check_rights(settings, "ingest", admin=admin)
            await check_topics(settings, topics, admin=admin)
            await check_configs(settings, topics, admin=admin)
            await check_sizes(settings, *topics, record_bytes=MAX_RECORD_BYTES, batch_bytes=BATCH_BYTES, admin=admin)
        await producer.start()
        tasks.start(LAG, lag.run)
        try:
            yield
        finally:
            await tasks.stop()
            await producer.stop()
            if traces is not None:
                await traces.stop()

    about = [
        *(health.routes() if member is None else member.routes(health)),
        Route(OPENAPI_PATH, lambda _: JSONResponse(document(settings.webhook_paths)), methods=["GET"]),
    ]
    app = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["POST"]) for path in settings.webhook_paths),
            *(about if settings.admin_port is None else ()),
        ],
        exception_handlers={HTTPException: _refusing(settings.webhook_paths)},
        lifespan=lifespan,
    )
    app.state.metrics, app.state.stopping = metrics, stopping
    app.state.directs = {("POST", path): endpoint for path in settings.webhook_paths}
    # The page is for this company's people: it stands on the port that is not the world's, or not at all.
    app.state.admin = (
        None
        if settings.admin_port is None
        else Starlette(routes=[*about, *_page(settings, metrics, health, member).routes()])
    )
    app.router.redirect_slashes = False  # a redirect would be a failed delivery to Dodo; a 404 shows where to look
    return app


def _page(settings: Settings, metrics: Metrics, health: Health, member: Member | None) -> Page:
    recent = recent_of(metrics)

    async def look() -> Look:
        now_ready, now_live = health.verdicts()
        return Look(now_ready, now_live, families_of(metrics.registry), events=recent.events())

    own = Own("ingest", look)
    return Page(own.document if member is None else member.document(own, recent.events), Peers(settings.peers))


def _spans(traces: Traces, settings: Settings) -> WebhookSpans:
    from pipeline.ingest.spans import WebhookSpans

    return WebhookSpans(traces, settings.webhook_paths[0])


def _refusing(paths: Sequence[str]) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    where = f"; webhooks are taken by POST {' or '.join(paths)}"

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls the handler of the class
        hint = where if error.status_code in (404, 405) else ""
        text = f"{error.detail}: {request.method}{hint}"
        return JSONResponse({"error": text}, status_code=error.status_code, headers=error.headers)

    return refuse
