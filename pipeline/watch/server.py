"""The health server: a worker's HTTP port, in Faust's event loop."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

from starlette.routing import Route

from pipeline import logs
from pipeline.http.bind import bind
from pipeline.http.journal import ConnectionJournal
from pipeline.http.limits import Limits
from pipeline.http.server import Server
from pipeline.tasks import Tasks
from pipeline.watch.connections import observe_connections
from pipeline.watch.health import Health
from pipeline.watch.loop import LAG, LoopLag

log = logs.get(__name__)

LIMITS: Final = Limits(body_bytes=2**16, connections=100, idle_s=75.0, incoming_bytes=2**20, held_bytes=2**22)
"""For probes and scrapes: two or three connections, without bodies; the rest is room while others hold connections."""

GRACE_S: Final = 1.0
"""For answers that have begun when the port closes; probes are short."""


class HealthServer:
    """Serves `health` on `host:port` between `start()` and `stop()`; `port` 0 takes any free one, see `bound_port`.

    `beside` are routes that the port answers as well.
    """

    def __init__(self, host: str, port: int, health: Health, beside: Sequence[Route] = ()) -> None:
        self._host = host
        self._port = port
        self._health = health
        self._app = health.app(*beside)
        self._lag = LoopLag(health.metrics, health.beat)
        self._server: Server | None = None
        self._tasks = Tasks(observers=[health.metrics])
        self.bound_port = 0
        observe_connections(health.metrics)

    async def start(self) -> None:
        """Listen; return when requests are answered.

        Raises:
            ConfigurationError: it cannot listen on the address; names the setting to change.
        """
        listener: socket.socket = bind(self._host, self._port)
        self.bound_port = listener.getsockname()[1]
        self._server = Server(self._app, listener, LIMITS, observers=(self._health.metrics, ConnectionJournal()))
        self._server.start()
        self._tasks.start(LAG, self._lag.run)
        log.info("health listening", host=self._host, port=self.bound_port)

    async def stop(self) -> None:
        """Close; a second call does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        self._tasks.let_end()
        await server.stop(GRACE_S)
        await self._tasks.stop()
