"""The smallest server that a sink can send to: it reads bodies by their length and takes everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, cast

from pipeline.customerio.batch import WRAPPER_BYTES


def answer(status: int, body: bytes) -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n"
DOWN: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"\r\ncontent-length:"


@dataclass
class Arrivals:
    """When requests arrived (monotonic seconds at the last byte, and at the first), and the bytes of their bodies."""

    first_bytes_at: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    body_bytes: list[int] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self) -> None:
        """Forget them."""
        self.first_bytes_at.clear()
        self.at.clear()
        self.body_bytes.clear()


class _Protocol(asyncio.Protocol):
    """One connection. A request never begins in the segment in which another one ends: clients here do not pipeline."""

    def __init__(self, server: BareServer) -> None:
        self._server = server
        self._head = b""
        self._missing = 0
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._server.connections.discard(self)
        self._server.changed.set()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            if not self._head:
                self._began = time.monotonic()
            self._head += data
            end = self._head.find(HEAD_END)
            if end < 0:
                return
            self._length = _content_length(self._head[:end])
            self._missing = self._length - (len(self._head) - end - len(HEAD_END))
            self._head = b""
        if self._missing <= 0:
            self._missing = 0
            if self._server.is_down:
                self._server.refused += 1
                self._transport.write(DOWN)
                return
            if self._length > WRAPPER_BYTES:  # a batch without operations is a sink's trial of its credentials
                arrivals = self._server.arrivals
                arrivals.first_bytes_at.append(self._began)
                arrivals.at.append(time.monotonic())
                arrivals.body_bytes.append(self._length)
                arrivals.more.set()
            self._transport.write(self._server.answer(self._length))


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


class BareServer:
    """Listens on a free loopback port. While it `is_down` it answers 503 and counts as `refused`, no arrivals.

    `answer` is what it says to a body of so many bytes.
    """

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.is_down = False
        self.refused = 0
        self.answer: Callable[[int], bytes] = lambda _body_bytes: TAKEN
        self.connections: set[_Protocol] = set()
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Protocol(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        while self.connections:  # an open transport that is collected later is a warning in somebody else's test
            self.changed.clear()
            await self.changed.wait()
