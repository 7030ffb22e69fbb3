"""The whole chain: a signed webhook posted to ingest until the strict sandbox accepted its event.

First at a steady rate with the default request limit, for how long a webhook takes; then as fast as ingest takes them
with the limit raised, for how many go through. Broker, stages, sandbox and sender share the machine.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from pipeline.demo.observe import SandboxView
from pipeline.kafka.local.broker import free_port
from tests.bench import bento, stage
from tests.bench.figures import Figure, median, p99, per
from tests.bench.load import as_fast_as_it_goes, connections, steadily
from tests.bench.payments import Payments
from tests.bench.plan import Run

PARTITIONS: Final = 4
CONNECTIONS: Final = 64
LATENCY_BOUND_MS: Final = 150.0
RUDDERSTACK: Final = 1_700.0
"""Events a second through gateway, transformer and router on two cores, as its documentation says."""

RUSH_BOUND: Final = 5 * RUDDERSTACK
RAISED: Final = 1000.0
STAGES: Final = ("sink", "transform", "ingest")
"""In the order in which they start: whoever takes first."""

OPERATIONS: Final = 2
"""Of one payment: identify and event."""

WARM_UP: Final = 50
STILL_S: Final = 30.0
POLL_S: Final = 0.05
SHOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything runs and is ready."""

    ingest: str
    sandbox: SandboxView
    processes: dict[str, stage.Process]

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor time of each so far."""
        return {name: process.cpu_s() for name, process in self.processes.items()}

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """The same since then."""
        return {name: now - before[name] for name, now in self.cpu_s().items()}


async def measure(run: Run) -> list[Figure]:
    """Steady traffic, then a rush."""
    figures = [*await _steady(run), *await _rush(run)]
    if bento.program() is not None:
        theirs = [*await _steady(run, by_bento=True), *await _rush(run, by_bento=True)]
        figures += [replace(one, name=f"Bento, {one.name}", at_least=None, at_most=None) for one in theirs]
    return figures


async def _steady(run: Run, *, by_bento: bool = False) -> list[Figure]:
    payments = Payments()
    rate = run.sizes.chain_rate
    count = int(rate * run.sizes.chain_seconds)
    run.say(f"posting {rate:g} webhooks a second for {run.sizes.chain_seconds:g} s")
    posted: dict[str, float] = {}
    async with (
        _chain(run, by_bento=by_bento, fast=False, customerio_requests_per_second=run.sizes.chain_requests) as chain,
        connections(chain.ingest, CONNECTIONS) as pool,
    ):
        # Imports, caches, first connections; and the first identify of a person is not what is measured.
        now = int(time.time())
        warm = [payments.request(10**9 + number, stage.SECRET, now) for number in range(WARM_UP)]
        await as_fast_as_it_goes(pool, iter(warm), None)
        await _accepted(chain, WARM_UP * OPERATIONS)
        requests = [payments.request(number, stage.SECRET, int(time.time())) for number in range(count)]
        cpu_s = chain.cpu_s()
        showing = asyncio.create_task(_show(run, chain, (WARM_UP + count) * OPERATIONS))
        answers = await steadily(
            pool,
            requests,
            rate,
            on_send=lambda number: posted.__setitem__(payments.webhook_id(number), time.time() * 1000),
        )
        assert answers.statuses == Counter({200: count}), f"not every webhook was taken: {answers.statuses}"
        await _accepted(chain, (WARM_UP + count) * OPERATIONS)
        shares = chain.since(cpu_s)
        showing.cancel()
        arrived: dict[str, list[float]] = {}
        async for event in chain.sandbox.events():
            arrived.setdefault(event["attributes"]["webhook_id"], []).append(event["arrived_at_ms"])
        stats = await chain.sandbox.stats()
    missing = sum(webhook_id not in arrived for webhook_id in posted)
    waits = [arrived[webhook_id][0] - at for webhook_id, at in posted.items() if webhook_id in arrived]
    what = f"webhook to accepted at {rate:g}/s"
    return [
        Figure("chain", f"{what}, p50", median(waits), "ms"),
        Figure("chain", f"{what}, p99", p99(waits), "ms", at_most=LATENCY_BOUND_MS),
        Figure("chain", f"{what}, longest", max(waits, default=math.nan), "ms"),
        Figure("chain", f"{what}, missing", missing, "", at_most=0),
        Figure("chain", f"{what}, refused", stats["refused"], "", at_most=0),
        Figure("chain", f"{what}, sent again", stats["duplicates"], ""),
        Figure("chain", f"{what}, processor time of all stages a webhook", per(1e3 * _of_stages(shares), count), "ms"),
        *(
            Figure("chain", f"{what}, processor time of {name} a webhook", per(1e3 * used, count), "ms")
            for name, used in shares.items()
        ),
    ]


async def _rush(run: Run, *, by_bento: bool = False) -> list[Figure]:
    payments = Payments()
    count = run.sizes.chain_webhooks
    run.say(f"signing {count:,} webhooks, then posting them as fast as they are taken")
    async with _chain(run, by_bento=by_bento, fast=True, customerio_requests_per_second=RAISED) as chain:
        async with connections(chain.ingest, CONNECTIONS) as pool:
            requests = [payments.request(number, stage.SECRET, int(time.time())) for number in range(count)]
            cpu_s = chain.cpu_s()
            began = time.perf_counter()
            showing = asyncio.create_task(_show(run, chain, count * OPERATIONS))
            answers = await as_fast_as_it_goes(pool, iter(requests), None)
            assert answers.statuses == Counter({200: count}), f"not every webhook was taken: {answers.statuses}"
            await _accepted(chain, count * OPERATIONS)
            seconds = time.perf_counter() - began
            showing.cancel()
        shares = chain.since(cpu_s)
    return [
        Figure("chain", "rush, webhooks from post to accepted", per(count, seconds), "/s", at_least=RUSH_BOUND),
        Figure("chain", "rush, operations accepted", per(count * OPERATIONS, seconds), "/s"),
        Figure("chain", "rush, webhooks taken by ingest meanwhile", answers.per_second, "/s"),
        *(
            Figure("chain", f"rush, processor time of {name} a webhook", per(1e6 * used, count), "µs")
            for name, used in shares.items()
        ),
    ]


@asynccontextmanager
async def _chain(run: Run, *, by_bento: bool, fast: bool, **overrides: float) -> AsyncIterator[Chain]:
    ports = {name: free_port() for name in ("sandbox", "Bento", *STAGES)}
    url = f"http://127.0.0.1:{ports['sandbox']}"
    settings = await stage.topics(run.broker, run.directory, PARTITIONS, customerio_url=url, **overrides)
    sandbox = (
        *(sys.executable, "-m", "pipeline", "sandbox", "--port", str(ports["sandbox"])),
        *("--keep-events", "10000000", *(("--fast",) if fast else ())),
    )
    processes: dict[str, stage.Process] = {}
    view = SandboxView(url)
    try:
        processes["sandbox"] = stage.Process(sandbox, stage.environment(settings), run.directory, "sandbox")
        if by_bento:
            processes["Bento"] = bento.start(settings, run.directory, port=ports["ingest"], status_port=ports["Bento"])
        else:
            for name in STAGES:
                own = settings.model_copy(update={"port": ports[name]})
                processes[name] = stage.Process.stage(own, run.directory, name)
        for name, process in processes.items():
            path = "/__sandbox/stats" if name == "sandbox" else "/ready"
            await stage.ready(process, f"http://127.0.0.1:{ports[name]}", path)
        yield Chain(f"http://127.0.0.1:{ports['ingest']}", view, processes)
    finally:
        await view.close()
        # Ingest first: it takes nothing new while the others finish what is there.
        for process in reversed(processes.values()):
            await process.stop()


def _of_stages(shares: dict[str, float]) -> float:
    """All but the sandbox, which stands for Customer.io."""
    return sum(used for name, used in shares.items() if name != "sandbox")


async def _accepted(chain: Chain, operations: int) -> None:
    """Wait until the sandbox has accepted so many."""
    seen, moved = 0, time.monotonic()
    while True:
        for process in chain.processes.values():
            process.check()
        now = (await chain.sandbox.stats())["accepted"]
        if now >= operations:
            return
        if now > seen:
            seen, moved = now, time.monotonic()
        elif time.monotonic() - moved > STILL_S:
            raise TimeoutError(f"{now:,} of {operations:,} operations were accepted, then none for {STILL_S:g} s")
        await asyncio.sleep(POLL_S)


async def _show(run: Run, chain: Chain, operations: int) -> None:
    while True:
        await asyncio.sleep(SHOW_S)
        accepted = (await chain.sandbox.stats())["accepted"]
        run.say(f"{accepted:,} of {operations:,} operations accepted")
