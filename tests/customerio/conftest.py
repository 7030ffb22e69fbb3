"""A TCP server that answers byte by byte as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hypothesis
import pytest

hypothesis.settings.register_profile("customerio", deadline=None)
hypothesis.settings.load_profile("customerio")
"""A busy machine is no failure: the suite's own timeout finds what hangs."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
RawServer = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def raw_server() -> AsyncIterator[RawServer]:
    """Builder: a handler of connections in, the base address of a listening server out."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(handler: Handler) -> str:
            connections: set[asyncio.Task[None]] = set()

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                connections.add(task)
                try:
                    await handler(reader, writer)
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()
                    with contextlib.suppress(ConnectionError):
                        await writer.wait_closed()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)

            async def stop() -> None:
                server.close()
                await asyncio.gather(*connections, return_exceptions=True)
                await server.wait_closed()

            stack.push_async_callback(stop)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield serve
