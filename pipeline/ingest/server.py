"""The process: bind, check, serve, and stop without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
import uvloop
from starlette.types import ASGIApp

from pipeline import logs, signals
from pipeline.errors import PipelineError
from pipeline.ingest import PATH
from pipeline.ingest.app import create_app
from pipeline.ingest.protocol import BoundedHeadProtocol
from pipeline.kafka.connection import use_our_connections
from pipeline.settings import Settings
from pipeline.tasks import catch_unheard
from pipeline.watch.server import bind

log = logs.get(__name__)

KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of common load balancers (AWS 60 s): if ours were shorter, they would send a webhook into a
connection that we are just closing."""

GRACE_S: Final = 8
"""For requests in flight at SIGTERM: as long as Kafka may take to confirm, and a second. With closing it stays below
12 s; Kubernetes kills after 30."""

BACKLOG: Final = 2048


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns after the last request was answered and the producer flushed.

    Args:
        settings: of this process.
        say: told the address once requests are answered.

    Raises:
        ConfigurationError: the address cannot be listened on; secrets, topics or brokers are not as they must be.
    """
    use_our_connections()
    uvloop.run(_serve(settings, say))


async def _serve(settings: Settings, say: Callable[[str], None]) -> None:
    app = create_app(settings)
    host, wanted = settings.host, settings.port_of("ingest")
    listener = bind(host, wanted)
    port = listener.getsockname()[1]

    def started() -> None:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
        log.info("listening", address=address)
        say(f"Listening on {address}")

    server = Server(configure(app), started)
    failures: list[BaseException] = []

    def crash(error: BaseException) -> None:
        """Answer what is in flight, and end; whoever runs us starts the next one."""
        failures.append(error)
        server.should_exit = True

    catch_unheard(asyncio.get_running_loop(), crash=crash, observers=[app.state.metrics])
    with contextlib.closing(listener), _stopping(server), contextlib.suppress(asyncio.CancelledError):
        async with app.router.lifespan_context(app):
            gc.collect()
            gc.freeze()  # what the imports left is never garbage; collections then look at requests only
            await server.serve(sockets=[listener])
            log.info("stopped accepting, every request was answered")
    if failures:
        raise PipelineError(f"ingest ended itself: {failures[0]!r}") from failures[0]


def configure(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves ingest."""
    return uvicorn.Config(
        app,
        http=BoundedHeadProtocol,
        ws="none",
        lifespan="off",  # entered here, so that its errors end the process with their message and not a traceback
        log_config=None,
        log_level="error",  # its warnings are about malformed requests: one line each for an attacker
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which re-raise SIGTERM at the end, and with a word at its start."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to `_stopping`."""
        yield

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Begin to accept."""
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        self._on_start()


@contextlib.contextmanager
def _stopping(server: Server) -> Iterator[None]:
    """SIGTERM and SIGINT end the server, a second one its patience; before it serves, they end the start."""
    loop, serving = asyncio.get_running_loop(), asyncio.current_task()

    def stop(_number: int) -> None:
        if not server.started and serving is not None:
            serving.cancel()
        server.force_exit = server.should_exit
        server.should_exit = True

    with signals.listening(loop.call_soon_threadsafe, stop):
        yield
