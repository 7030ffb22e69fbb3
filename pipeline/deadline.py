"""A bound on the whole of an HTTP exchange, whatever the server does with its bytes.

httpx times out each read. A server that sends a byte now and then restarts that clock, in the headers as in the body,
and keeps its slot of the connection pool for ever. To cancel such a request would leak the slot as well
(https://github.com/encode/httpcore/issues/1093). So the clock lies beneath the pool: a read or write that would last
beyond the exchange's end times out there, and the pool closes the connection and frees its slot by itself.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import httpcore

from pipeline.plain_httpx import httpx
from pipeline.sockets import Backend

_until: ContextVar[float] = ContextVar("until", default=math.inf)
"""When the exchange of this task must have ended, monotonic seconds."""

B = TypeVar("B", bound=httpx.AsyncClient)


def bounded(client: B) -> B:
    """`client`, whose requests inside of `within` now keep to it; those through a proxy of the environment as well.

    Its connections are our own (`pipeline.sockets`).

    A transport that is not httpx's own, such as a test's, stays as it is.
    """
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 - httpx gives no way to the pool's network
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = transport._pool  # noqa: SLF001 - as above; httpcore takes a backend, httpx does not hand one on
            pool._network_backend = _Backend(Backend())  # noqa: SLF001 - read for each new connection
    return client


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let a request that is made in here, from its first byte to the last of its answer, end within `seconds`.

    Beyond them it fails with one of httpx's time-outs.
    """
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """The time-out of one step: its own, or what is left of the exchange if that is less."""
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise error("the time for the whole exchange is over")
    if left == math.inf:
        return timeout
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection, on which each step ends with the exchange that takes it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        return await self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        await self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens connections with that bound."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(await self._backend.connect_tcp(host, port, left, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(await self._backend.connect_unix_socket(path, left, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
