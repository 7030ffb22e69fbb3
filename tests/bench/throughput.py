"""Operations per second of one sink, from Kafka into a bare loopback server."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer

from pipeline.customerio.batch import WRAPPER_BYTES
from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.settings import Settings
from tests.bench import bento, stage
from tests.bench.figures import Figure, per
from tests.bench.plan import Run
from tests.bench.server import BareServer

PARTITIONS: Final = 4
TARGET: Final = 100_000.0
FILL: Final = 95.0

RATES: Final = (150.0, 1000.0)
"""Requests per second: 150 full ones are 107,000 operations; with 1,000 a lane never waits for its turn, and only the
backlog makes batches fill."""

Start = Callable[[Settings, Path], stage.Process]
"""Starts a sink with these settings, its log in that directory."""


@dataclass(frozen=True)
class Delivered:
    """What one sink did between its first and its last request."""

    per_second: float
    cpu_us: float
    fill: float


async def measure(run: Run) -> list[Figure]:
    """The same topic read by a bare consumer, and by sinks with different rates."""
    settings = await stage.topics(run.broker, run.directory, PARTITIONS, customerio_url="http://127.0.0.1:1")
    operations = run.sizes.operations
    run.say(f"writing {operations:,} operations")
    servers, topic = settings.kafka_bootstrap_servers, settings.operations_topic
    await stage.fill(servers, topic, PARTITIONS, map(stage.operation, range(operations)))
    bare = await _bare(settings, operations)
    figures = [Figure("throughput", "bare aiokafka consumer, records read", bare, "/s")]
    starts: dict[str, Start] = {"sink": _ours}
    if bento.program() is not None:
        starts["Bento"] = _bento
    for rate, (name, start) in itertools.product(RATES, starts.items()):
        sink = await _sink(settings, run.directory, rate, operations, start)
        target, fill = (TARGET, FILL) if (rate, start) == (RATES[0], _ours) else (None, None)
        what = f"{name} at {rate:g} requests/s"
        figures += [
            Figure("throughput", f"{what}, operations", sink.per_second, "/s", at_least=target),
            Figure("throughput", f"{what}, of the bare consumer", per(sink.per_second, bare), "x"),
            Figure("throughput", f"{what}, processor time an operation", sink.cpu_us, "µs"),
            Figure("throughput", f"{what}, fill of a request", 100 * sink.fill, "%", at_least=fill),
        ]
    return figures


async def _bare(settings: Settings, operations: int) -> float:
    consumer = AIOKafkaConsumer(
        settings.operations_topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None,
        auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    try:
        seen, began = 0, time.perf_counter()
        while seen < operations:
            seen += sum(len(records) for records in (await consumer.getmany(timeout_ms=1000)).values())
        return per(seen, time.perf_counter() - began)
    finally:
        await consumer.stop()


def _ours(settings: Settings, directory: Path) -> stage.Process:
    return stage.Process.stage(settings, directory, "sink")


def _bento(settings: Settings, directory: Path) -> stage.Process:
    return bento.start(settings, directory, ["sink"])


async def _sink(settings: Settings, directory: Path, rate: float, total: int, start: Start) -> Delivered:
    size = len(stage.operation(0)[1]) + 1  # with its comma
    async with BareServer() as server:
        arrivals = server.arrivals
        own = settings.model_copy(
            update={
                "customerio_url": server.url,
                "customerio_requests_per_second": rate,
                "sink_group": f"{settings.sink_group}.{rate:g}",
            }
        )
        sink = start(own, directory)

        def operations() -> int:
            return sum((body - WRAPPER_BYTES + 1) // size for body in arrivals.body_bytes)

        try:
            async with asyncio.timeout(stage.PATIENCE_S):
                while not arrivals.at:
                    sink.check()
                    await asyncio.sleep(0.01)
                before, cpu_s, began = operations(), sink.cpu_s(), time.monotonic()
                while operations() < total:
                    sink.check()
                    await asyncio.sleep(0.05)
            cpu_s = sink.cpu_s() - cpu_s
        finally:
            await sink.stop()
        done = total - before
        fill = per(sum(arrivals.body_bytes) / BODY_MAX_BYTES, len(arrivals.body_bytes))
        return Delivered(per(done, arrivals.at[-1] - began), per(1e6 * cpu_s, done), fill)
