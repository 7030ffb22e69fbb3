"""Serves a sandbox on a TCP port, inside a running event loop."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self

from pipeline.customerio.sandbox.app import create_sandbox
from pipeline.customerio.sandbox.bodies import READ_MAX_BYTES
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.errors import SettingsError
from pipeline.http.bind import BACKLOG, shown
from pipeline.http.journal import ConnectionJournal
from pipeline.http.limits import Limits
from pipeline.http.server import Server

LIMITS: Final = Limits(
    body_bytes=READ_MAX_BYTES,
    body_within_s=30.0,
    connections=1000,
    idle_s=75.0,
    held_bytes=256 * 2**20,
)
"""Bodies are larger than webhooks and may be answered late on purpose. Idle connections stay for longer than the
client's own, so that they close from its side as with a real load balancer."""

GRACE_S: Final = 2.0


class SandboxServer:
    """A sandbox that listens.

    Args:
        config: how it behaves.
        host: address to listen on.
        port: 0 takes any free port.

    Raises:
        SettingsError: the address cannot be used.
    """

    def __init__(self, config: SandboxConfig | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        app = create_sandbox(config)
        self.sandbox: Final[Sandbox] = app.state.sandbox
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise SettingsError(f"the sandbox cannot listen on {host} port {port}: {error.strerror}") from None
        except (TypeError, UnicodeError):
            self._socket.close()
            raise SettingsError(f"the sandbox cannot listen on {host!r}: that is no name") from None
        visible = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        self.url: Final = f"http://{shown(visible)}:{self._socket.getsockname()[1]}"
        self._server = Server(app, self._socket, LIMITS, observers=[ConnectionJournal()])
        self._serving = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.connections)

    async def start(self) -> None:
        """Return when it listens."""
        self._socket.listen(BACKLOG)
        self._server.start()
        self._serving = True

    async def stop(self) -> None:
        """End pauses, finish answers that have begun, close every connection."""
        self.sandbox.closing.set()
        if not self._serving:
            self._socket.close()
            return
        self._serving = False
        await self._server.stop(GRACE_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
