"""Sinks of eight lanes that come and go on a real Apache Kafka: what is accepted is committed, none is sent twice."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.kafka

STOP_S = 30.0
"""Kubernetes kills then. A stop takes twelve at most, on a machine that has nothing else to do."""


async def test_joins_leaves_and_stops_repeat_nothing(make_stage: Any, made: Any) -> None:
    """Three sinks join, two are stopped, under traffic and a backlog that fills batches: nothing is sent twice."""
    stage = await make_stage({"latency_ms": 60}, partitions=6)
    total = 40_000
    pad = "x" * 700

    def records(start: int, end: int) -> list[Any]:
        return [made.event_record(f"cus_{n % 700}", n, pad=pad) for n in range(start, end)]

    await stage.produce(records(0, total // 2))
    first = stage.start(made.PATIENT)
    await stage.requests(10)
    second = stage.start(made.PATIENT)
    await second.answers("/ready", "3 partitions")
    for start in range(total // 2, total * 3 // 4, 2000):
        await stage.produce(records(start, start + 2000))
    third = stage.start(made.PATIENT)
    await third.answers("/ready", "2 partitions")
    flowing = asyncio.create_task(stage.produce(records(total * 3 // 4, total)))
    for leaving in (first, second):
        assert await leaving.stop() == 0
    await flowing
    await third.answers("/ready", "6 partitions")
    await stage.done()
    stats = stage.stats
    print({key: stats[key] for key in ("requests", "events", "duplicates", "order_violations")})  # noqa: T201 - counts
    assert (stats["events"], stats["duplicates"], stats["order_violations"]) == (total, 0, 0)
    assert await third.series("dodo_cio_handover_operations_total") >= 0


async def test_a_stop_in_the_middle_of_a_backlog_repeats_nothing(make_stage: Any, made: Any) -> None:
    """SIGTERM again and again while batches are in flight: each owner begins where the last one ended."""
    stage = await make_stage({"latency_ms": 150})
    total = 40_000
    await stage.produce([made.event_record(f"cus_{n % 300}", n, pad="x" * 900) for n in range(total)])
    for _ in range(3):
        worker = stage.start(made.PATIENT)
        before = stage.stats["events"]
        async with asyncio.timeout(300):
            while stage.stats["events"] < before + 1000:  # noqa: ASYNC110 - the sandbox tells nobody
                await asyncio.sleep(0.01)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
        assert stage.stats["events"] < total
    stage.start(made.PATIENT)
    await stage.done()
    stats = stage.stats
    print({key: stats[key] for key in ("requests", "events", "duplicates", "order_violations")})  # noqa: T201 - counts
    assert (stats["events"], stats["duplicates"], stats["order_violations"]) == (total, 0, 0)


@pytest.mark.parametrize(
    "fault",
    [{"delay_s": 600}, {"delay_after_s": 3}, {"status": 503}, {"status": 429, "retry_after": 300}, {"drop": "after"}],
    ids=["silent", "slow", "down", "held", "cut"],
)
async def test_a_stop_has_a_bound(make_stage: Any, made: Any, fault: dict[str, Any]) -> None:
    """Whatever the API does, SIGTERM ends the process before anybody kills it."""
    stage = await make_stage()
    stage.faults({**fault, "times": "always", "match": {"path": "/api/v2/batch"}})
    await stage.produce([made.event_record(f"cus_{n % 300}", n, pad="x" * 900) for n in range(12_000)])
    worker = stage.start()
    if "retry_after" in fault:
        await worker.shows("dodo_cio_holds_total", lambda holds: holds > 0)
    else:
        await stage.requests(8)
    asked = time.monotonic()
    assert await worker.stop() == 0
    took_s = time.monotonic() - asked
    print(f"{fault}: {took_s:.1f} s")  # noqa: T201 - counts
    assert took_s < STOP_S


async def test_batches_are_full_under_load(make_stage: Any, made: Any) -> None:
    """With a backlog and a rate below what would drain it, requests carry at least 95 % of the largest body."""
    stage = await make_stage({"fast": True}, customerio_requests_per_second=8)
    total = 40_000
    await stage.produce([made.event_record(f"cus_{n % 900}", n, pad="x" * 900) for n in range(total)])
    worker = stage.start()
    await stage.done()
    families = text_string_to_metric_families((await worker.get("/metrics")).text)
    buckets = {
        sample.labels["le"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "dodo_cio_batch_fill_ratio_bucket"
    }
    filled, short = buckets["+Inf"] - buckets["0.95"], buckets["0.95"]
    print(f"{filled:g} batches filled to 95 %, {short:g} not")  # noqa: T201 - counts
    assert filled > 60
    ends = 2 * stage.settings.lanes  # the first batch that a free lane takes, and its last
    assert filled / (filled + max(short - ends, 0)) >= 0.95
    assert stage.stats["events"] == total
