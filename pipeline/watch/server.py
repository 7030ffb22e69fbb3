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

import uvicorn

from pipeline import logs
from pipeline.errors import ConfigurationError
from pipeline.watch.health import Health
from pipeline.watch.loop import LoopLag

log = logs.get(__name__)

BACKLOG = 64
GRACE_S = 1
"""Probes are short: what is still open at the end of a worker is an idle keep-alive connection."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the worker; with them uvicorn would end and the worker go on."""
        yield


class HealthServer:
    """Serves `health` on `host:port` between `start()` and `stop()`; `port` 0 takes any free one, see `bound_port`."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        self._host = host
        self._port = port
        self._health = health
        self._lag = LoopLag(health.metrics, health.beat)
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.bound_port = 0

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            ConfigurationError: the address cannot be listened on, naming the setting to change.
        """
        listener = bind(self._host, self._port)
        self.bound_port = listener.getsockname()[1]
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
        self._server = _Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="health server")
        self._tasks = [serving, asyncio.create_task(self._lag.run(), name="event loop lag")]
        for task in self._tasks:
            task.add_done_callback(_report)
        while not self._server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        log.info("health listening", host=self._host, port=self.bound_port)

    async def stop(self) -> None:
        """Close; a second call does nothing."""
        if self._server is None:
            return
        self._server.should_exit = True
        serving, sampling = self._tasks
        sampling.cancel()
        await asyncio.gather(serving, sampling, return_exceptions=True)
        self._server = None


def _report(task: asyncio.Task[None]) -> None:
    """A probe that died would look like a dead process; the log then says why."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the health server failed", task=task.get_name(), exc_info=error)


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
