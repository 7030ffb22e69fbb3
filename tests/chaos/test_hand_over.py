"""Partitions change hands without a loss, and without a repeat when nobody is killed."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]


async def test_workers_join_and_leave_without_a_repeat(fleet: Fleet) -> None:
    """A second and a third worker join, the first two leave: every record arrives once and in order."""
    traffic = fleet.traffic().start()
    first = fleet.start()
    await first.says("OffsetsCommitted(")
    second = fleet.start()
    await second.says("OffsetsCommitted(")
    third = fleet.start()
    await third.says("OffsetsCommitted(")
    for other in (first, second):
        before = third.place
        assert await other.stop() == 0
        await third.says("RebalanceEnded(", since=before)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated, count.disordered) == (0, 0, 0)
    assert await third.stop() == 0


async def test_what_is_in_flight_is_finished_and_committed_before_the_partitions_go(fleet: Fleet) -> None:
    """A worker that is told to stop in the middle of its work hands over everything that it began."""
    traffic = fleet.traffic(per_second=500).start()
    first = fleet.start(work_s="2")
    await first.says("OffsetsCommitted(")
    working = first.place
    assert await first.stop() == 0
    assert "drained=True, committed=True" in await first.says("HandOverEnded(", since=working)
    second = fleet.start()
    await second.says("OffsetsCommitted(")
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated, count.disordered) == (0, 0, 0)


async def test_a_stop_inside_a_revocation_ends(fleet: Fleet) -> None:
    """SIGTERM while partitions are being given away: the process still ends by itself, with nothing repeated."""
    traffic = fleet.traffic(per_second=500).start()
    first = fleet.start(work_s="3")
    await first.says("OffsetsCommitted(")
    alone = first.place
    second = fleet.start()
    await first.says("RebalanceStarted(", since=alone)
    await first.says("Draining", since=alone)
    assert await first.stop() == 0
    await second.says("OffsetsCommitted(")
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated, count.disordered) == (0, 0, 0)


@pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make chaos")
async def test_work_that_does_not_end_is_left_after_the_grace(fleet: Fleet) -> None:
    """A worker whose work hangs still stops; nothing of it is committed, and the next owner does it."""
    traffic = fleet.traffic()
    await traffic.burst(500)
    first = fleet.start(work_s="3600")
    await first.says("ChunkDelivered(")
    working = first.place
    assert await first.stop() == 0
    assert "drained=False, committed=True" in await first.says("HandOverEnded(", since=working)
    assert set((await fleet.committed()).values()) <= {0}  # where partitions begin
    fleet.start()
    assert (await fleet.count(traffic.sent)).missing == 0


async def test_a_restore_longer_than_the_session_keeps_the_membership(fleet: Fleet) -> None:
    """While state is restored for 11 s with a session of 10 s no record flows, and the generation stays the same."""
    traffic = fleet.traffic()
    await traffic.burst(1000)
    worker = fleet.start(restore_s="11")
    await worker.says("Restoring", "generation=1")
    await worker.says("Restored", "generation=1")
    before, _, after = worker.text.partition("Restored")
    assert "ChunkDelivered" not in before
    await worker.says("OffsetsCommitted(", "generation=1")
    assert (await fleet.count(traffic.sent)).repeated == 0
    assert "generation=2" not in after


async def test_a_restore_that_is_overtaken_by_a_rebalance_is_given_up(fleet: Fleet) -> None:
    """A peer that joins during a restore does not wait for its end; the restore begins again with what is left."""
    traffic = fleet.traffic()
    await traffic.burst(1000)
    first = fleet.start(restore_s="600")
    await first.says("Restoring", "generation=1")
    second = fleet.start()
    await second.says("OffsetsCommitted(")
    await first.says("Restoring", "generation=2", "partitions=2")
    assert "Restored" not in first.text
    assert await first.stop() == 0
    async with asyncio.timeout(300):
        await fleet.caught_up()
