"""A sandbox on a TCP port, inside a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.customerio.sandbox.answers import DROP
from pipeline.customerio.sandbox.app import create_sandbox
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.errors import SettingsError

KEEP_ALIVE_S: Final = 75
"""Above the client's own, so that connections close from the client's side as with a real load balancer."""


class _Protocol(HttpToolsProtocol):
    """HTTP whose requests know how to cut their connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: dict[str, Any] = cast("dict[str, Any]", self.scope)
        scope["extensions"] = {DROP: self.transport.abort}


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to the caller and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


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
        bound = self._socket.getsockname()[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared, not bound
        self.url: Final = f"http://{shown}:{bound}"
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=2,
                backlog=2048,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it listens."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        listening = asyncio.ensure_future(self._server.listening.wait())
        await asyncio.wait({listening, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._serving

    async def stop(self) -> None:
        """End pauses, finish what is being answered, close every connection."""
        self.sandbox.closing.set()
        self._server.should_exit = True
        if self._serving is None:
            self._socket.close()
        else:
            await self._serving

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
