"""Connections for httpcore's pool, straight on the event loop's transports.

httpcore's own stand on anyio, which is made to be cancelled at any point: each read and write gets a cancel scope, a
timer and a turn of the loop of its own, and TLS is done in Python: a fifth of what a small request cost. A third of a
sink at a low rate was its HTTP client.

A request's head and body leave together, as one write. A timeout ends the connection: httpcore closes it, as it does
with its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import httpcore

from pipeline.dialing import dialed

UNREAD_BYTES: Final = 256 * 1024
"""From here on the server is not read until httpcore has taken what came."""

HELD_BYTES: Final = 1024 * 1024
"""What may wait for the rest of its request; more leaves at once. A full batch is half as large."""


class _Wire(asyncio.Protocol):
    """What the event loop reports about one connection."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.unread = 0
        self.is_over = False
        self.error: BaseException | None = None
        self.transport: asyncio.Transport
        self._is_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._is_full = False
        self._writer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # a stream's

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        self.unread += len(data)
        if self.unread > UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self.is_over = True
        _wake(self._reader)

    def connection_lost(self, error: BaseException | None) -> None:
        self.is_over = True
        self.error = error
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    def take(self, at_most: int) -> bytes:
        """What came first; there is something."""
        data = self.chunks.popleft()
        if len(data) > at_most:
            self.chunks.appendleft(data[at_most:])
            data = data[:at_most]
        self.unread -= len(data)
        if self._is_paused and self.unread <= UNREAD_BYTES:
            self._is_paused = False
            self.transport.resume_reading()
        return data

    async def arrived(self, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore's
        """Return when there is something to read, or never will be."""
        while not self.chunks and not self.is_over:
            self._reader = asyncio.get_running_loop().create_future()
            await _in_time(self._reader, timeout, httpcore.ReadTimeout)

    async def drained(self, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore's
        """Return when the system has room for more."""
        while self._is_full and not self.is_over:
            self._writer = asyncio.get_running_loop().create_future()
            await _in_time(self._writer, timeout, httpcore.WriteTimeout)


class Stream(httpcore.AsyncNetworkStream):
    """One connection, plain or with TLS.

    Args:
        wire: what the loop reports about it.
        transport: the connection.
    """

    def __init__(self, wire: _Wire, transport: asyncio.Transport) -> None:
        self._wire = wire
        self._transport = wire.transport = transport
        self._held: list[bytes] = []
        self._held_bytes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        """What came, at most so much; nothing when the server has ended."""
        if self._held:
            self._flush()
        wire = self._wire
        if not wire.chunks:
            await wire.arrived(timeout)
        if wire.chunks:
            return wire.take(max_bytes)
        if wire.error is not None:
            raise httpcore.ReadError(_told(wire.error)) from wire.error
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        """Keep `buffer` until its request is whole: httpcore writes nothing behind it, then, or begins to read."""
        if buffer:
            self._held.append(buffer)
            self._held_bytes += len(buffer)
            if self._held_bytes < HELD_BYTES:
                return
        self._flush()
        await self._wire.drained(timeout)

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if not held:
            return
        if self._wire.is_over or self._transport.is_closing():
            raise httpcore.WriteError("the connection is closed") from self._wire.error
        try:
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
        except (OSError, RuntimeError) as error:  # uvloop: the handler is closed
            raise httpcore.WriteError(_told(error)) from error

    async def aclose(self) -> None:
        """End it, without waiting for whoever does not read; the loop closes the socket in its next turn."""
        self._held.clear()
        self._transport.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """The same connection with TLS on it."""
        loop = asyncio.get_running_loop()
        try:
            async with _connecting(timeout):
                secured = await loop.start_tls(
                    self._transport, self._wire, ssl_context, server_hostname=server_hostname
                )
        except BaseException:
            self._transport.abort()
            raise
        if secured is None:
            raise httpcore.ConnectError("the server closed the connection while TLS began")
        return Stream(self._wire, secured)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore and httpx ask for."""
        match info:
            case "ssl_object":
                return self._transport.get_extra_info("ssl_object")
            case "client_addr":
                return self._transport.get_extra_info("sockname")
            case "server_addr":
                return self._transport.get_extra_info("peername")
            case "socket":
                return self._transport.get_extra_info("socket")
            case "is_readable":  # of an idle connection: whether its server has ended it
                return self._is_readable()
        return None

    def _is_readable(self) -> bool:
        if self._wire.chunks or self._wire.is_over or self._transport.is_closing():
            return True
        # The loop may not know of it yet.
        looking = select.poll()
        looking.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(looking.poll(0))


class Backend(httpcore.AsyncNetworkBackend):
    """Opens them, on the loop that runs."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,  # noqa: ARG002 - httpcore's; nobody gives any
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers."""
        loop = asyncio.get_running_loop()
        async with _connecting(timeout):
            connected = await dialed(host, port)
            try:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for option in socket_options or ():
                    connected.setsockopt(*option)
                transport, wire = await loop.create_connection(_Wire, sock=connected)
            except BaseException:
                connected.close()
                raise
        return Stream(wire, transport)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - httpcore's; nobody gives any
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a socket of the file system."""
        async with _connecting(timeout):
            transport, wire = await asyncio.get_running_loop().create_unix_connection(_Wire, path)
        return Stream(wire, transport)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def _connecting(timeout: float | None) -> AsyncIterator[None]:  # noqa: ASYNC109 - as httpcore's are called
    """Errors as httpcore has them."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(_told(error)) from error
    except OSError as error:  # TLS's errors are some
        raise httpcore.ConnectError(_told(error)) from error


async def _in_time(
    told: asyncio.Future[None],
    timeout: float | None,  # noqa: ASYNC109 - httpcore's
    error: type[httpcore.TimeoutException],
) -> None:
    if timeout is None:
        return await told
    timer = asyncio.get_running_loop().call_later(timeout, _expire, told, error)
    try:
        return await told
    finally:
        timer.cancel()


def _expire(told: asyncio.Future[None], error: type[httpcore.TimeoutException]) -> None:
    if not told.done():
        told.set_exception(error())


def _wake(told: asyncio.Future[None] | None) -> None:
    if told is not None and not told.done():
        told.set_result(None)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
