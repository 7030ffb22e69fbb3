"""Customer.io is down while a backlog waits on a real Apache Kafka; the long form is three minutes and 200,000 records.

`SINK_DOWN_SECONDS=180 pytest tests/sink/kafka/test_down.py -s` runs the long form and prints what was counted.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

pytestmark = pytest.mark.kafka

LONG_S = float(os.environ.get("SINK_DOWN_SECONDS") or 0)
SHORT_S = 10.0
MIB = 1024 * 1024


@pytest.mark.timeout(int(900 + 3 * LONG_S))
async def test_a_backlog_waits_for_the_api(make_stage: Any, made: Any) -> None:
    """Nothing is lost, repeated or out of order; memory and requests are bounded; the group never rebalances."""
    seconds, total = (LONG_S, 200_000) if LONG_S else (SHORT_S, 20_000)
    stage = await make_stage({"fast": True, "keep_events": 1}, customerio_requests_per_second=500)
    stage.faults({"status": 503, "times": "always", "match": {"path": "/api/v2/batch"}})
    for start in range(0, total, 10_000):
        await stage.produce(
            [made.event_record(f"cus_{n % 5000}", n, pad="x" * 600) for n in range(start, start + 10_000)]
        )
    worker = stage.start()
    await worker.ready()
    await stage.requests(8)
    highest = 0.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + seconds:  # the outage's length is the test's input
        highest = max(highest, await worker.series("process_resident_memory_bytes"))
        assert await worker.series("dodo_cio_memory_taken_bytes") <= 64 * MIB
        await asyncio.sleep(1)
    asked, lasted_s = stage.stats["statuses"]["503"], loop.time() - began
    assert stage.stats["events"] == 0
    assert (await worker.get("/ready")).status_code == (await worker.get("/live")).status_code == 200
    stage.faults()
    async with asyncio.timeout(300):
        while stage.stats["events"] < total:  # noqa: ASYNC110 - the sandbox tells nobody
            await asyncio.sleep(0.2)
    await stage.done()
    stats = stage.stats
    changes = [line for line in worker.text.splitlines() if '"cause"' in line and "outage" in line]
    print(  # noqa: T201 - what was counted
        f"down {seconds:g} s, {total} records: {stats['events']} arrived, {stats['duplicates']} repeated, "
        f"{stats['order_violations']} out of order, {asked} requests while down, {stats['requests']} in all, "
        f"{highest / MIB:.0f} MiB resident at most, {len(changes)} lines about the hold"
    )
    assert (stats["events"], stats["duplicates"], stats["order_violations"]) == (total, 0, 0)
    assert asked < 8 * 12 + lasted_s / 5
    assert highest < 300 * MIB
    assert await worker.series("dodo_cio_rebalances_total") == 1
    assert await stage.dead_letters() == []
    if LONG_S:
        assert len(changes) == 2
    assert await worker.stop() == 0
