"""The health server: a small HTTP server inside a loop that somebody else runs.

Faust's worker owns the event loop and the signals; uvicorn would take both. Here it gets a socket that is already
bound and leaves the signals alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from pipeline import logs
from pipeline.errors import ConfigurationError
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.watch.health import Health
from pipeline.watch.loop import LAG, LoopLag

log = logs.get(__name__)

BACKLOG = 64
GRACE_S = 1
"""Probes are short: what is still open at the end of a worker is an idle keep-alive connection."""

SERVER: Final = BackgroundTask("health server", OnEnd.RESTART)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the worker; with them uvicorn would end and the worker go on."""
        yield

    def drop(self) -> None:
        """Accept nothing more, however serving ended."""
        for server in getattr(self, "servers", ()):
            server.close()


class HealthServer:
    """Serves `health` on `host:port` between `start()` and `stop()`; `port` 0 takes any free one, see `bound_port`."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        self._host = host
        self._port = port
        self._health = health
        self._lag = LoopLag(health.metrics, health.beat)
        self._listener: socket.socket | None = None
        self._server: _Server | None = None
        self._tasks = Tasks(observers=[health.metrics])
        self.bound_port = 0

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            ConfigurationError: the address cannot be listened on, naming the setting to change.
        """
        self._listener = bind(self._host, self._port)
        self.bound_port = self._listener.getsockname()[1]
        serving = self._tasks.start(SERVER, self._serve)
        self._tasks.start(LAG, self._lag.run)
        while self._server is None or not self._server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        log.info("health listening", host=self._host, port=self.bound_port)

    async def _serve(self) -> None:
        """Answer requests; begun again when it failed, on the same socket."""
        assert self._listener is not None  # noqa: S101 - `start` made it
        config = uvicorn.Config(
            self._health.app(),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = self._server = _Server(config)
        try:
            await server.serve(sockets=[self._listener.dup()])
        finally:
            server.drop()

    async def stop(self) -> None:
        """Close; a second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._tasks.let_end()
        if self._server is not None:
            self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * GRACE_S):
                await self._tasks.ended(SERVER)
        await self._tasks.stop()
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = "another process listens there: stop it, or give PIPELINE_PORT another port (0: any free one)"
        elif error.errno == errno.EACCES:
            what = "this user may not: give PIPELINE_PORT a port above 1023"
        else:
            what = f"{error.strerror or type(error).__name__}: PIPELINE_HOST must be an address of this machine"
        raise ConfigurationError(f"cannot listen on {host}:{port}: {what}") from None
