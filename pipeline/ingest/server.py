"""The process: bind, check, serve, and stop without losing a request.

After SIGTERM: `/ready` fails, webhooks are still taken for `PIPELINE_DRAIN_SECONDS`, each answer ending its connection,
so that a balancer that has not heard yet meets no closed port; then nothing new, and requests in flight get their
answers within `GRACE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvloop
from starlette.applications import Starlette

from pipeline import logs, signals
from pipeline.errors import PipelineError
from pipeline.http.bind import bind
from pipeline.http.events import ConnectionsCounted, Observer
from pipeline.http.journal import ConnectionJournal
from pipeline.http.limits import Limits
from pipeline.http.server import Server
from pipeline.ingest.app import create_app
from pipeline.ingest.records import MAX_BODY_BYTES
from pipeline.ingest.replies import READ_WITHIN_S
from pipeline.ingest.workers.addresses import announce
from pipeline.ingest.workers.member import Member
from pipeline.ingest.workers.supervisor import Supervisor
from pipeline.kafka.connection import use_our_connections
from pipeline.plain_structlog import structlog
from pipeline.settings import Settings
from pipeline.tasks import catch_unheard
from pipeline.watch.server import GRACE_S as ADMIN_GRACE_S
from pipeline.watch.server import LIMITS as ADMIN_LIMITS

log = logs.get(__name__)

GRACE_S: Final = 8.0
"""For requests in flight once nothing new is taken: as long as Kafka may take to confirm, and a second. With draining
and closing it stays below 16 s; Kubernetes kills after 30."""


def run(settings: Settings, say: Callable[[str], None], *, worker: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns after the last request was answered and the producer flushed.

    Args:
        settings: of this process.
        say: called with the address once requests are answered.
        worker: which one of a supervisor's this process is.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: the address cannot be listened on; secrets, topics or brokers are not as they must be.
    """
    use_our_connections()
    if worker is None and settings.ingest_workers > 1:
        return uvloop.run(_supervise(settings, say))
    uvloop.run(_serve(settings, say, worker))
    return 0


async def _supervise(settings: Settings, say: Callable[[str], None]) -> int:
    return await Supervisor(settings, say).run()


async def _serve(settings: Settings, say: Callable[[str], None], worker: int | None) -> None:
    member = None
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)
        member = Member()
        await member.join()
    app = create_app(settings, member=member)
    listener = bind(settings.host, settings.port_of("ingest"), shared=member is not None)
    port = listener.getsockname()[1]
    admin = _admin(app.state.admin, settings, app.state.metrics, shared=member is not None)
    observers = [app.state.metrics, ConnectionJournal("PIPELINE_MAX_CONNECTIONS")]
    beside = 0 if admin is None else ADMIN_LIMITS.connections
    server = Server(app, listener, limits_of(settings), observers=observers, directs=app.state.directs, beside=beside)
    if server.most < server.limits.connections:
        log.warning(
            "PIPELINE_MAX_CONNECTIONS is more than this process has file descriptors for (ulimit -n)",
            connections=server.most,
        )
    failures: list[BaseException] = []
    stopping = Stopping(server, app.state.stopping)

    def crash(error: BaseException) -> None:
        """Answer what is in flight, and end; whoever runs us starts the next one."""
        failures.append(error)
        stopping.now()

    catch_unheard(asyncio.get_running_loop(), crash=crash, observers=[app.state.metrics])
    told = stopping.by_signals() if member is None else stopping.by_orders(member)
    with contextlib.closing(listener), told, contextlib.suppress(asyncio.CancelledError):
        async with app.router.lifespan_context(app):
            gc.collect()
            gc.freeze()  # what the imports left is never garbage; collections then look at requests only
            server.start()
            stopping.serving = True
            if admin is not None:
                admin.start()
            if member is not None:
                member.serving()
            else:
                announce(settings, port, admin.address[1] if admin is not None else None, say)
            try:
                await stopping.drained(settings.drain_seconds)
            finally:
                await server.stop(GRACE_S)
                if admin is not None:
                    await admin.stop(ADMIN_GRACE_S)
            log.info("stopped accepting, every request was answered")
    if failures:
        raise PipelineError(f"ingest ended itself: {failures[0]!r}") from failures[0]


def _admin(app: Starlette | None, settings: Settings, metrics: Observer, *, shared: bool) -> Server | None:
    """The server of the process's pages about itself, where they have a port of their own."""
    if app is None or settings.admin_port is None:
        return None

    def count(event: object) -> None:
        """What goes wrong at either port is one count; how many are open is the public port's."""
        if not isinstance(event, ConnectionsCounted):
            metrics(event)

    listener = bind(settings.host, settings.admin_port, shared=shared, setting="PIPELINE_ADMIN_PORT")
    return Server(app, listener, ADMIN_LIMITS, observers=[count, ConnectionJournal()])


def limits_of(settings: Settings) -> Limits:
    """The bounds of ingest's port, in each of its processes."""
    return Limits(
        body_bytes=MAX_BODY_BYTES,
        body_within_s=READ_WITHIN_S,
        connections=math.ceil(settings.max_connections / settings.ingest_workers),
        idle_s=settings.keep_alive_seconds,
    )


class Stopping:
    """The end of the process, in steps; `told` is set at the first, for `/ready`.

    The first SIGTERM begins to drain. A second signal, or Ctrl-C at once, ends the draining; one more gives up the
    requests in flight. Before the process serves, a signal ends its start.
    """

    def __init__(self, server: Server, told: asyncio.Event) -> None:
        self._server = server
        self._told = told
        self._enough = asyncio.Event()
        self.serving = False

    def now(self) -> None:
        """Take nothing more."""
        self._told.set()
        self._enough.set()

    async def drained(self, seconds: float) -> None:
        """Return when nothing new is to be taken any more."""
        await self._told.wait()
        self._server.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._enough.wait()

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT."""
        loop, starting = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: int) -> None:
            if self._enough.is_set():
                self._order("give up", starting)
            else:
                self._order("now" if self._told.is_set() or number == signal.SIGINT else "stop", starting)

        with signals.listening(loop.call_soon_threadsafe, stop):
            yield

    @contextlib.contextmanager
    def by_orders(self, member: Member) -> Iterator[None]:
        """Obey a supervisor; a signal asks for the same as its first order, however often it comes.

        Some send a signal to every process of a service, the supervisor among them: only its orders show which one is
        the second.
        """
        loop, starting = asyncio.get_running_loop(), asyncio.current_task()
        with signals.listening(loop.call_soon_threadsafe, lambda _: self._order("stop", starting)):
            member.obey(lambda order: self._order(order, starting))
            yield

    def _order(self, order: str, starting: asyncio.Task[Any] | None) -> None:
        if not self.serving and starting is not None:
            starting.cancel()
        elif order == "give up":
            self._server.give_up()
        elif order == "now":
            self.now()
        else:
            self._told.set()
