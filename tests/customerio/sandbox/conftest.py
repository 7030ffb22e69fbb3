"""A sandbox in the test's own process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from pipeline.customerio.sandbox import SandboxConfig, create_sandbox

Asking = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    """Builder: settings of a sandbox (and its clock) in, a client of it with credentials out."""
    async with contextlib.AsyncExitStack() as stack:

        async def build(clock: Callable[[], float] = time.monotonic, **settings: Any) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(create_sandbox(SandboxConfig(**settings), clock=clock))
            client = httpx.AsyncClient(transport=transport, base_url="http://sandbox", auth=("site", "key"))
            return await stack.enter_async_context(client)

        yield build
