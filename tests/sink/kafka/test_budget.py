"""The workspace's rate with several sinks on a real Apache Kafka, as the sandbox counts arrivals."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pipeline import logs

pytestmark = [pytest.mark.kafka, pytest.mark.alone]

LONG = pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make chaos")

log = logs.get(__name__)

PARTITIONS = 6
PEOPLE = 48
"""Eight a partition: with three sinks there is work for every lane."""

MEASURED_S = 6.0


class Api:
    """A sandbox in a process of its own: starting a sink must not hold up the clock by which arrivals are counted."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    async def stats(self) -> dict[str, Any]:
        """Its counts."""
        answer: dict[str, Any] = (await self._http.get(f"{self.url}/__sandbox/stats")).json()
        return answer

    async def rate(self) -> float:
        """Requests per second from now on, once every sink had time to begin under its new share."""
        start = (await self.stats())["requests"] + 20
        async with asyncio.timeout(300):
            while (before := (await self.stats())["requests"]) < start:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        began = time.monotonic()
        await asyncio.sleep(MEASURED_S)
        after = (await self.stats())["requests"]
        return float((after - before) / (time.monotonic() - began))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A sandbox that needs 20 ms for each request."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", "sandbox", "--json", "--latency-ms", "20"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient() as http:
            yield Api(json.loads(await process.stdout.readline())["url"], http)
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    ("limit", "first"),
    [
        pytest.param(20.0, 2, id="20 a second"),
        pytest.param(50.0, 1, id="50 a second", marks=[pytest.mark.chaos, LONG]),
    ],
)
async def test_rate_of_several_sinks(make_stage: Any, made: Any, api: Api, *, limit: float, first: int) -> None:
    """Sinks join while there is a backlog of small batches: no sliding second has more arrivals than the limit and one
    request a sink, and under each assignment at least 95 % of the limit is used."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=PARTITIONS, customerio_url=api.url, customerio_requests_per_second=limit)
    # Each of them bars its person, so a request has one operation a person, however many wait.
    await stage.produce([made.identify_record(f"cus_{n % PEOPLE}") for n in range(600 * int(limit))])
    used: dict[int, float] = {}
    for count in range(first, 4):
        while len(stage.workers) < count:
            stage.start()
        for worker in stage.workers:
            await worker.answers("/ready", f"{PARTITIONS // count} partitions")
        used[count] = await api.rate() / limit
    stats = await api.stats()
    most = stats["max_requests_per_second"]
    log.info("rate", limit=limit, sinks=len(stage.workers), most_in_a_second=most, used=used)
    assert most <= limit + len(stage.workers)
    assert min(used.values()) >= 0.95, used
    assert stats["largest_batch"] <= PEOPLE
    for worker in stage.workers:
        assert await worker.series("dodo_cio_request_budget_per_second") == pytest.approx(limit / 3)
        assert await worker.series("dodo_cio_records_undelivered") > 0, "the backlog ended before the measurement"
