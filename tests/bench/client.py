"""Requests a second that the sink's HTTP client can send at all: the limit above every other figure of the sink."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.bench import stage
from tests.bench.figures import Figure
from tests.bench.plan import Run
from tests.bench.server import BareServer


async def measure(run: Run) -> list[Figure]:
    """Full requests into the bare server, from a process of their own."""
    async with BareServer() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.contenders.track_client", server.url, str(run.sizes.requests),
            cwd=stage.ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, f"the client ended with exit code {process.returncode}"
    found = json.loads(said)
    return [
        Figure("client", "httpx, full requests", found["per_second"], "/s"),
        Figure("client", "httpx, operations in them", found["per_second"] * found["operations"], "/s"),
        Figure("client", "httpx, processor time a request", found["cpu_us"], "µs"),
    ]
