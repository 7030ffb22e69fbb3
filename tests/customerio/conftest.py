"""A TCP server that answers byte by byte as a test wants."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hypothesis
import pytest

from tests.listening import Handler, listening

hypothesis.settings.register_profile("customerio", deadline=None)
hypothesis.settings.load_profile("customerio")
"""A busy machine is no failure: the suite's own timeout finds what hangs."""

RawServer = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def raw_server() -> AsyncIterator[RawServer]:
    """Builder: a handler of connections in, the base address of a listening server out."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(handler: Handler) -> str:
            return f"http://127.0.0.1:{await stack.enter_async_context(listening(handler))}"

        yield serve
