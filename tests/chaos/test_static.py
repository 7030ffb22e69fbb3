"""Workers that keep their place in the group by a name of their own (static membership)."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet, Offsets
    from tests.workers import WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LONG = bool(os.environ.get("CHAOS_SECONDS"))
SESSION_S = 60.0
"""Longer than a restart takes on any machine, as docs/operating.md asks for."""

FENCED = "PIPELINE_GROUP_INSTANCE_ID: another process has joined the consumer group"


@pytest.fixture
async def fleet(chain_settings: Callable[..., Awaitable[Settings]], make_fleet: Callable[[Settings], Fleet]) -> Fleet:
    """A fleet on topics of its own, with four partitions, whose members may be away for a minute."""
    return make_fleet(await chain_settings(partitions=4, session_timeout_seconds=SESSION_S))


def rebalances(worker: WorkerProcess) -> int:
    """How often the worker was given partitions, the start included."""
    return worker.text.count("RebalanceEnded(")


async def two(fleet: Fleet) -> list[WorkerProcess]:
    """Two workers with names, each with half of the partitions."""
    workers = [fleet.start(instance_id=f"worker-{number}") for number in range(2)]
    for worker in workers:
        await worker.says("Partitions assigned", "partitions=2")
    return workers


async def test_a_rolling_restart_moves_nothing(fleet: Fleet) -> None:
    """Each is stopped and comes back under its name: the other sees no rebalance, nothing is lost or repeated."""
    traffic = fleet.traffic(per_second=500).start()
    workers = await two(fleet)
    for number, other in ((0, 1), (1, 0)):
        before = rebalances(workers[other])
        assert await workers[number].stop() == 0
        workers[number] = fleet.start(instance_id=f"worker-{number}")
        await workers[number].says("Copying", "partitions=2")
        await workers[number].says("OffsetsCommitted(")
        assert rebalances(workers[other]) == before
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated, count.disordered) == (0, 0, 0)
    for worker in workers:
        assert await worker.stop() == 0


async def test_a_killed_one_comes_back_to_its_place(fleet: Fleet) -> None:
    """After SIGKILL the same name gets the same partitions within the session, and the other sees no rebalance."""
    traffic = fleet.traffic(per_second=500).start()
    first, second = await two(fleet)
    before = rebalances(second)
    first.send(signal.SIGKILL)
    await first.ended()
    heir = fleet.start(instance_id="worker-0")
    await heir.says("Copying", "partitions=2")
    await heir.says("OffsetsCommitted(")
    assert rebalances(second) == before
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)


async def test_a_frozen_one_that_was_replaced_does_nothing_when_it_wakes_up(
    fleet: Fleet, watch_offsets: Callable[[Fleet], Offsets]
) -> None:
    """Frozen with work in flight while another took its name, it sends and commits nothing more, and says why."""
    await replace_a_frozen_one(fleet, watch_offsets, past_session=False)


@pytest.mark.skipif(not LONG, reason="long form: make chaos")
async def test_a_frozen_one_past_its_session(
    chain_settings: Callable[..., Awaitable[Settings]],
    make_fleet: Callable[[Settings], Fleet],
    watch_offsets: Callable[[Fleet], Offsets],
) -> None:
    """The same when its partitions had gone to a peer before its name was taken."""
    fleet = make_fleet(await chain_settings(partitions=4))
    await replace_a_frozen_one(fleet, watch_offsets, past_session=True)
    assert "raise PIPELINE_SESSION_TIMEOUT_SECONDS" in fleet.workers[0].text


async def replace_a_frozen_one(fleet: Fleet, watch_offsets: Callable[[Fleet], Offsets], *, past_session: bool) -> None:
    """Freeze one of two with work that it has not finished, let another take its name, and wake it up."""
    frozen = fleet.start(instance_id="worker-0", work_s="3600")
    peer = fleet.start(instance_id="worker-1")
    await peer.says("Copying", "partitions=2")
    await frozen.says("Copying", "partitions=2")
    traffic = fleet.traffic()
    await traffic.burst(2000)
    await fleet.wrote(2000)  # all of it, so none is left in the frozen one's connections
    shared = peer.place
    frozen.send(signal.SIGSTOP)
    if past_session:
        await peer.says("Copying", "partitions=4", since=shared)
    heir = fleet.start(instance_id="worker-0")
    await heir.says("Copying", "partitions=2")
    await fleet.caught_up()
    await traffic.burst(2000)
    await fleet.caught_up()
    written = len(await fleet.output())
    watched = watch_offsets(fleet)
    frozen.send(signal.SIGCONT)
    assert await frozen.ended() == 2
    assert frozen.text.count(FENCED) == 1
    assert "Traceback" not in frozen.text
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)
    assert len(await fleet.output()) == written
    assert watched.fell == []
    assert await heir.stop() == 0


async def test_of_two_with_one_name_the_first_ends(fleet: Fleet) -> None:
    """By mistake a second process has the same name: the first ends with exit code 2 and one message that names the
    setting, the second begins only when the first cannot act any more, and nothing is lost or out of order."""  # noqa: D205, D209 - one promise
    traffic = fleet.traffic(per_second=500).start()
    first = fleet.start(instance_id="worker-0")
    await first.says("OffsetsCommitted(", times=3)
    second = fleet.start(instance_id="worker-0")
    assert await first.ended() == 2
    assert first.text.count(FENCED) == 1
    assert "Traceback" not in first.text
    await second.says("Copying", "partitions=4")
    await second.says("OffsetsCommitted(", times=3)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)
    assert second.process.poll() is None
    assert await second.stop() == 0


async def test_partitions_that_are_added_are_seen_after_a_restart(fleet: Fleet) -> None:
    """A leader that came back as a follower still notices a new partition: its records do not wait for ever."""
    await fleet.traffic().burst(100)
    assert await (await started(fleet)).stop() == 0
    worker = await started(fleet)
    async with open_admin(fleet.settings) as admin:
        await admin.add_partitions(fleet.settings.webhooks_topic, 6)
    await worker.says("Copying", "partitions=6")
    await fleet.traffic().burst(600)
    await fleet.caught_up()


async def started(fleet: Fleet) -> WorkerProcess:
    """The only worker of its group."""
    worker = fleet.start(instance_id="worker-0", metadata_ms="1000")
    await worker.says("Copying", "partitions=4")
    return worker
