"""The operations topic goes away and comes back, empty or filled, under a sink that runs or is frozen."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings

pytestmark = pytest.mark.kafka

WELL_BEFORE_S = 120.0
"""Than the five minutes after which the client would look by itself. It takes 3 s to 5 s on a quiet machine."""


async def delete(settings: Settings) -> None:
    """The topic is gone for every broker when it returns."""
    async with open_admin(settings) as admin:
        await admin.delete([settings.operations_topic])
        while await admin.partitions([settings.operations_topic]):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def create(settings: Settings) -> None:
    """The topic can be used when it returns."""
    async with open_admin(settings) as admin:
        await admin.create(settings.operations_topic, 1, -1, {})
        while await admin.partitions_everywhere(settings.operations_topic) < 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def test_a_topic_that_goes_and_comes_back(make_stage: Any, made: Any) -> None:
    """While it is away the sink is not ready, and says why; it is again soon after its return, and sends on."""
    stage = await make_stage(partitions=1)
    await stage.produce([made.event_record("cus_1", number) for number in range(3)])
    worker = stage.start()
    await worker.ready()
    await stage.done()
    await delete(stage.settings)
    why = f"topic {stage.settings.operations_topic} does not exist, or has no partitions"
    assert (await worker.answers("/ready", why)).status_code == 503
    await worker.says("A topic has no partitions")  # else it is back before the group has noticed, and never missed
    await create(stage.settings)
    async with asyncio.timeout(WELL_BEFORE_S):
        await worker.ready()
    await stage.produce([made.event_record("cus_1", number) for number in range(10, 17)])
    await stage.done()  # more than before: the offset of then may still lie in the group
    assert stage.numbers == [0, 1, 2, *range(10, 17)]
    assert await worker.series("dodo_cio_topic_resumed_seconds_count") == 1
    assert await worker.stop() == 0


async def test_a_topic_made_anew_under_a_frozen_sink(make_stage: Any, made: Any) -> None:
    """It holds more operations than the other one did when the sink wakes up within its session; none is skipped.

    Those behind the old position may go first, before the client hears that the topic is another one.
    """
    stage = await make_stage(partitions=1, session_timeout_seconds=45)
    await stage.produce([made.event_record("cus_1", number) for number in range(5)])
    worker = stage.start()
    await worker.ready()
    await stage.done()
    worker.send(signal.SIGSTOP)
    try:
        await delete(stage.settings)
        await create(stage.settings)
        await stage.produce([made.event_record("cus_1", number) for number in range(100, 140)])
    finally:
        worker.send(signal.SIGCONT)
    async with asyncio.timeout(WELL_BEFORE_S):
        while len(stage.numbers) < 45:
            assert worker.process.poll() is None, worker.text
            await asyncio.sleep(0.05)
    await stage.done()
    assert stage.numbers[:5] == [*range(5)]
    assert sorted(stage.numbers[5:]) == [*range(100, 140)]
    assert "made anew" in worker.text
    assert await worker.stop() == 0
