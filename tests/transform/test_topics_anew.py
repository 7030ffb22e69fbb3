"""The webhooks topic goes away and comes back, empty or filled, under a worker that runs, is frozen, or is stopped."""

from __future__ import annotations

import asyncio
import signal

import pytest
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from tests.transform.test_reading import ids, until_committed, webhook_ids
from tests.transform.test_worker import (
    ChainSettings,
    Start,
    payments,
    produce,
    start,  # noqa: F401 - a fixture
)
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

WELL_BEFORE_S = 120.0
"""Than the five minutes after which the client would look by itself. It takes 3 s to 5 s on a quiet machine."""


async def delete(settings: Settings) -> None:
    """The topic is gone for every broker when it returns."""
    async with open_admin(settings) as admin:
        await admin.delete([settings.webhooks_topic])
        while await admin.partitions([settings.webhooks_topic]):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def create(settings: Settings, partitions: int = 1) -> None:
    """The topic can be used when it returns."""
    async with open_admin(settings) as admin:
        await admin.create(settings.webhooks_topic, partitions, -1, {})
        while await admin.partitions_everywhere(settings.webhooks_topic) < partitions:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


def warnings_of(worker: WorkerProcess) -> list[str]:
    """What it warned of."""
    return [line["message"] for line in worker.lines() if line["level"] == "warning"]


async def test_a_topic_that_goes_and_comes_back(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811
    """While it is away the worker is not ready, and says why; it is again soon after its return, and reads."""
    settings = await chain_settings(partitions=1, state=False)
    await produce(settings, payments(0, 3))
    worker = await start(settings).ready()
    await until_committed(settings, worker, 3)
    await delete(settings)
    await worker.answers("/ready", f"topic {settings.webhooks_topic} does not exist, or has no partitions")
    assert (await worker.get("/ready")).status_code == 503
    # Else it is back before the group has noticed, and never missed.
    await worker.until(lambda: "A topic has no partitions" in worker.log.read_text())
    await create(settings)
    async with asyncio.timeout(WELL_BEFORE_S):
        await worker.ready()
    await produce(settings, payments(10, 7))
    await until_committed(settings, worker, 7)  # more than before: the offset of then may still lie in the group
    assert await webhook_ids(settings) == ids([*payments(0, 3), *payments(10, 7)])
    told = [line for line in worker.lines() if "A topic is back" in line["message"]]
    assert [(one["topic"], one["away_seconds"] >= 0, one["resumed_seconds"] >= 0) for one in told] == [
        (settings.webhooks_topic, True, True)
    ]
    assert "dodo_cio_topic_resumed_seconds_count 1.0" in (await worker.get("/metrics")).text
    assert await worker.stop() == 0, worker.log.read_text()


async def test_a_topic_made_anew_under_a_frozen_worker(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811
    """It holds more records than the other one did when the worker wakes up within its session; none is skipped."""
    settings = await chain_settings(partitions=1, state=False, session_timeout_seconds=45)
    await produce(settings, payments(0, 5))
    worker = await start(settings).ready()
    await until_committed(settings, worker, 5)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await delete(settings)
        await create(settings)
        await produce(settings, payments(100, 40))
    finally:
        worker.process.send_signal(signal.SIGCONT)
    wanted = set(ids(payments(100, 40)))
    async with asyncio.timeout(120):
        while not wanted <= set(await webhook_ids(settings)):
            assert worker.process.poll() is None, worker.log.read_text()
            await asyncio.sleep(0.2)
    await until_committed(settings, worker, 40)
    assert any("made anew" in line for line in warnings_of(worker))
    assert await worker.stop() == 0, worker.log.read_text()


async def test_an_offset_of_the_topic_before(start: Start, chain_settings: ChainSettings) -> None:  # noqa: F811
    """A commit that came too late lies in the group, and is of another topic: reading begins at the start."""
    settings = await chain_settings(partitions=1, state=False)
    await produce(settings, payments(0, 5))
    worker = start(settings)
    await until_committed(settings, worker, 5)
    assert await worker.stop() == 0, worker.log.read_text()
    tp = TopicPartition(settings.webhooks_topic, 0)
    async with open_admin(settings) as admin:
        late = (await admin.noted(settings.transform_group, [tp]))[tp]
        assert late is not None
        await delete(settings)
        await create(settings)
        await produce(settings, payments(100, 40))
        await admin.note(settings.transform_group, {tp: (20, late[1])})
    worker = start(settings)
    await until_committed(settings, worker, 40)
    assert await webhook_ids(settings) == ids([*payments(0, 5), *payments(100, 40)])
    assert await worker.stop() == 0, worker.log.read_text()
