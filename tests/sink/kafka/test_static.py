"""Sinks with names of their own: a restart moves no partitions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.kafka


async def test_a_rolling_restart_sends_nothing_twice(make_stage: Any, made: Any) -> None:
    """Two sinks are restarted in turn under traffic: no operation is sent twice or out of order, and the other one is
    given nothing and loses nothing."""  # noqa: D205, D209 - one promise
    stage = await make_stage(partitions=4, session_timeout_seconds=60)
    sent, enough = 0, asyncio.Event()

    async def traffic() -> None:
        nonlocal sent
        while not enough.is_set():
            await stage.produce([made.event_record(f"cus_{n % 80}", n) for n in range(sent, sent + 80)])
            sent += 80

    def start(number: int) -> Any:
        return stage.start(made.PATIENT, PIPELINE_GROUP_INSTANCE_ID=f"sink-{number}")

    sinks = [start(number) for number in range(2)]
    for sink in sinks:
        await sink.answers("/ready", "2 partitions")
    flowing = asyncio.create_task(traffic())
    for number, other in ((0, 1), (1, 0)):
        before = await sinks[other].series("dodo_cio_rebalances_total")
        assert await sinks[number].stop() == 0
        sinks[number] = start(number)
        await sinks[number].answers("/ready", "2 partitions")
        await sinks[number].shows("dodo_cio_operations_accepted_total", lambda count: count > 0)
        assert await sinks[other].series("dodo_cio_rebalances_total") == before
    enough.set()
    await flowing
    await stage.done()
    assert sorted(stage.numbers) == list(range(sent))
    assert (stage.stats["duplicates"], stage.stats["order_violations"]) == (0, 0)
