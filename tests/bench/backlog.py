"""A long outage: the sink's memory while Customer.io is down and a backlog waits, and how fast it drains afterwards.

The API answers 503 to everything, then 200; it is the bare server, so the drain is the sink's own speed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from pipeline.customerio.batch import WRAPPER_BYTES
from tests.bench import stage
from tests.bench.figures import Figure, per
from tests.bench.plan import Run
from tests.bench.server import BareServer

PARTITIONS: Final = 4
RATE: Final = 1000.0
"""Requests a second: the most that Customer.io ever published, so that the limit is not what is measured."""

MEMORY_BOUND_MB: Final = 200.0
GROWTH_BOUND_MB: Final = 5.0
"""Between the middle and the end of the outage: flat."""

SAMPLE_S: Final = 0.5
SHOW_S: Final = 10.0


async def measure(run: Run) -> list[Figure]:
    """One sink, one outage."""
    backlog, outage_s = run.sizes.backlog, run.sizes.outage_seconds
    async with BareServer() as server:
        settings = await stage.topics(
            run.broker, run.directory, PARTITIONS, customerio_url=server.url, customerio_requests_per_second=RATE
        )
        run.say(f"writing {backlog:,} operations")
        servers, topic = settings.kafka_bootstrap_servers, settings.operations_topic
        await stage.fill(servers, topic, PARTITIONS, map(stage.operation, range(backlog)))
        server.is_down = True
        sink = stage.Process.stage(settings, run.directory, "sink")
        try:
            async with asyncio.timeout(stage.PATIENCE_S):
                while not server.refused:
                    sink.check()
                    await asyncio.sleep(0.05)
            run.say(f"the API is down for {outage_s:g} s")
            held = await _sample(run, sink, time.monotonic() + outage_s)
            refused = server.refused
            run.say(f"{refused} requests were refused; the API is back")
            server.is_down = False
            began = time.monotonic()
            drained, repeated = await _drain(run, sink, server, backlog)
            cleared = server.arrivals.at[-1] - server.arrivals.at[0]
        finally:
            await sink.stop()
    return [
        Figure("backlog", f"{backlog:,} behind, API down: resident memory", max(held), "MB", at_most=MEMORY_BOUND_MB),
        Figure(
            "backlog", "growth in the second half of the outage",
            max(held[len(held) // 2 :]) - max(held[: len(held) // 2], default=held[0]), "MB", at_most=GROWTH_BOUND_MB,
        ),
        Figure("backlog", "requests while down", per(refused, outage_s), "/s"),
        Figure("backlog", "API back: until the first request", server.arrivals.at[0] - began, "s"),
        Figure("backlog", "drain, operations", per(backlog, cleared), "/s"),
        Figure("backlog", "drain, operations sent again", repeated, ""),
        Figure("backlog", "drain: resident memory", max(drained), "MB", at_most=MEMORY_BOUND_MB),
    ]  # fmt: skip


async def _sample(run: Run, sink: stage.Process, until: float) -> list[float]:
    sizes = [sink.rss_mb()]
    shown = time.monotonic()
    while time.monotonic() < until:
        sink.check()
        await asyncio.sleep(SAMPLE_S)
        sizes.append(sink.rss_mb())
        if time.monotonic() - shown > SHOW_S:
            shown = time.monotonic()
            run.say(f"resident memory {sizes[-1]:.0f} MB")
    return sizes


async def _drain(run: Run, sink: stage.Process, server: BareServer, backlog: int) -> tuple[list[float], int]:
    """Wait until so many operations arrived; resident memory meanwhile, and how many more than those came."""
    size = len(stage.operation(0)[1]) + 1  # with its comma
    sizes: list[float] = []
    counted = arrived = 0
    shown = time.monotonic()
    async with asyncio.timeout(stage.PATIENCE_S + backlog / 5_000):
        while arrived < backlog:
            sink.check()
            await asyncio.sleep(0.05)
            fresh = server.arrivals.body_bytes[counted:]
            counted += len(fresh)
            arrived += sum((body - WRAPPER_BYTES + 1) // size for body in fresh)
            sizes.append(sink.rss_mb())
            if time.monotonic() - shown > SHOW_S:
                shown = time.monotonic()
                run.say(f"{arrived:,} of {backlog:,} operations arrived")
    return sizes, arrived - backlog
