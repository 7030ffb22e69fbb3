"""The workspace's rate with several sinks on a real Apache Kafka, as the sandbox counts arrivals."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pipeline import logs
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.sink.demand import RESERVE
from tests.asking import local_client

pytestmark = [pytest.mark.kafka, pytest.mark.alone]

LONG = pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make chaos")

log = logs.get(__name__)

PARTITIONS = 6
PEOPLE = 48
"""Eight a partition: with three sinks there is work for every lane."""

MEASURED_S = 6.0
USED = 0.95
"""Of the limit, at least."""

SINKS = 4
"""That lend: one of them has all the work."""


class Api:
    """A sandbox in a process of its own: starting a sink must not hold up the clock by which arrivals are counted."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    async def stats(self) -> dict[str, Any]:
        """Its counts."""
        answer: dict[str, Any] = (await self._http.get(f"{self.url}/__sandbox/stats")).json()
        return answer

    async def arrivals_s(self) -> list[float]:
        """When each request arrived, by the sandbox's clock."""
        found: list[float] = []
        after: int | None = 0
        while after is not None:
            params = {"after": after, "limit": 1000}
            page = (await self._http.get(f"{self.url}/__sandbox/requests", params=params)).json()
            found += [line["arrived_at_ms"] / 1000 for line in page["requests"] if line["path"].endswith("/batch")]
            after = page["next"]
        return found

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
        async with local_client() as http:
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
    request a sink, and under each assignment 95 % of the limit comes to be used."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=PARTITIONS, customerio_url=api.url, customerio_requests_per_second=limit)

    async def backlog() -> None:
        """More than is sent while a rate is measured.

        Each of them bars its person, so a request has one operation a person, however many wait.
        """
        await stage.produce([made.identify_record(f"cus_{n % PEOPLE}") for n in range(200 * int(limit))])

    await backlog()
    used: dict[int, float] = {}
    for count in range(first, 4):
        while len(stage.workers) < count:
            stage.start()
        for worker in stage.workers:
            await worker.answers("/ready", f"{PARTITIONS // count} partitions")
        async with asyncio.timeout(300):
            while used.get(count, 0.0) < USED:  # a machine that stands still for a moment takes a part of one
                await backlog()
                used[count] = await api.rate() / limit
    stats = await api.stats()
    most = stats["max_requests_per_second"]
    log.info("rate", limit=limit, sinks=len(stage.workers), most_in_a_second=most, used=used)
    assert most <= limit + len(stage.workers), beside(await api.arrivals_s())
    assert stats["largest_batch"] <= PEOPLE
    for worker in stage.workers:
        assert await worker.series("dodo_cio_request_budget_per_second") == pytest.approx(limit / 3)
        assert await worker.series("dodo_cio_records_undelivered") > 0, "the backlog ended before the measurement"


def people_of(partition: int, count: int) -> list[str]:
    """So many ids that lie in that partition of `SINKS`."""
    names = (f"cus_{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if partition_of(name.encode(), SINKS) == partition), count))


async def all_show(stage: Any, series: str, expected: list[float]) -> None:
    """Wait until the sinks show these figures, the smallest first."""
    name, shown = f"dodo_cio_request_budget_{series}_per_second", [-1.0]
    async with asyncio.timeout(60):
        while shown != pytest.approx(expected, abs=0.01):
            await asyncio.sleep(0.1)
            shown = sorted([await worker.series(name) for worker in stage.workers])


@pytest.mark.parametrize(
    ("limit", "requests"),
    [
        pytest.param(40.0, 500, id="40 a second"),
        pytest.param(100.0, 3_000, id="100 a second", marks=[pytest.mark.chaos, LONG]),
    ],
)
async def test_idle_sinks_lend(make_stage: Any, made: Any, api: Api, *, limit: float, requests: int) -> None:
    """Of four sinks one has all the work: the others lend to it what they do not need, no sliding second has more
    arrivals than the limit and one request a sink, and everybody has its share again at the end."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=SINKS, customerio_url=api.url, customerio_requests_per_second=limit)
    for _ in range(SINKS):
        stage.start()
    for worker in stage.workers:
        await worker.answers("/ready", "1 partitions")
    people = people_of(2, PEOPLE)
    # Each of them bars its person, and a lane has six of these people.
    await stage.produce([made.identify_record(people[n % PEOPLE]) for n in range(requests * PEOPLE // 8)])
    share = limit / SINKS
    spare = share * (1 - RESERVE)
    await all_show(stage, "lent", [0.0] + [spare] * (SINKS - 1))
    await all_show(stage, "borrowed", [0.0] * (SINKS - 1) + [spare * (SINKS - 1)])
    assert json.loads((await stage.workers[0].get("/status")).text)["budget"]["share_per_second"] == share
    await stage.done()
    await all_show(stage, "lent", [0.0] * SINKS)
    await all_show(stage, "borrowed", [0.0] * SINKS)
    stats = await api.stats()
    arrivals = await api.arrivals_s()
    second = fullest(arrivals, arrivals[0] + 5.0)
    log.info("lending", limit=limit, most_in_a_second=stats["max_requests_per_second"], within_5_s=second)
    assert stats["max_requests_per_second"] <= limit + SINKS, beside(arrivals)
    if os.environ.get("CHAOS_SECONDS"):
        assert second >= 0.9 * limit


def in_second(arrivals: list[float], end: float) -> int:
    """The arrivals in the second that ends then, both ends included."""
    return bisect_right(arrivals, end) - bisect_left(arrivals, end - 1.0)


def fullest(arrivals: list[float], until: float) -> int:
    """The most arrivals in a second that ends by then."""
    return max(in_second(arrivals, at) for at in arrivals if at <= until)


def beside(arrivals: list[float]) -> str:
    """When requests arrived around the fullest second: a standstill shows as a gap before many."""
    end = max(arrivals, key=lambda at: in_second(arrivals, at))
    return f"ms from its end: {[round(1000 * (at - end)) for at in arrivals if -2.0 <= at - end <= 1.0]}"
