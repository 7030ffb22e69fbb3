"""Wires between single workers and brokers: a TCP relay for each pair, so that one of them can be cut.

A worker that comes in by a listener of its own is told that listener's addresses, and those are the relays'.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 64 * 1024
RESET: Final = struct.pack("ii", 1, 0)
"""Lingering for 0 s: closing is a reset."""


class Wire:
    """A relay from one address to another.

    Args:
        host: of both ends.
        port: where it listens.
        to: where it leads.
    """

    def __init__(self, host: str, port: int, to: int) -> None:
        self._host, self._port, self._to = host, port, to
        self._whole = asyncio.Event()
        self._whole.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=CHUNK)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def open(self) -> int:
        """Connections that lead through it."""
        return len(self._tasks)

    def cut(self, *, silent: bool) -> None:
        """Let nothing through: silently, as a router that is gone, or with a reset, as a host that is down."""
        self._refusing = not silent
        self._whole.clear()
        if not silent:
            for writer in self._writers:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()

    def mend(self) -> None:
        """Let everything through again, what was held back first."""
        self._refusing = False
        self._whole.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            return
        await self._whole.wait()
        inward, outward = await asyncio.open_connection(self._host, self._to, limit=CHUNK)
        self._writers.add(outward)
        pumps = [asyncio.create_task(self._pump(reader, outward)), asyncio.create_task(self._pump(inward, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            self._writers.discard(outward)
            outward.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._whole.wait()
                writer.write(chunk)
                await writer.drain()
