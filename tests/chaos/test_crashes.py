"""Processes and brokers die, freeze and come back; nothing is lost and no offset goes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.kafka.local.broker import LocalKafka
from pipeline.settings import Settings

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet, Offsets

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]


async def test_a_killed_worker_is_replaced_by_its_peer(fleet: Fleet) -> None:
    """After SIGKILL the peer gets all partitions once the session is over; only what was in flight is repeated."""
    first, second = fleet.start(), fleet.start()
    await first.says("Copying", "partitions=2")
    await second.says("Copying", "partitions=2")
    copying = first.place
    traffic = fleet.traffic().start()  # not before: what had piled up would be in flight all at once
    await first.says("OffsetsCommitted(", times=2, since=copying)  # one may be of where partitions begin
    shared = second.place
    first.send(signal.SIGKILL)
    await second.says("Copying", "partitions=4", since=shared)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)
    assert count.repeated <= 4000  # of at most MAX_CHUNKS chunks and 200 ms without a commit


async def test_a_frozen_worker_never_takes_an_offset_back(
    fleet: Fleet, watch_offsets: Callable[[Fleet], Offsets]
) -> None:
    """Frozen past its session, with work in flight, while others went on and left: its late commit is not accepted."""
    traffic = fleet.traffic(per_second=500).start()
    first = fleet.start(work_s="1")
    await first.says("OffsetsCommitted(", times=3)
    first.send(signal.SIGSTOP)
    second = fleet.start()
    await second.says("OffsetsCommitted(", times=3)
    assert await second.stop() == 0  # the group is empty now, and takes commits from anybody
    watched, asleep = watch_offsets(fleet), first.place
    first.send(signal.SIGCONT)
    await first.says("RebalanceEnded(", since=asleep)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)
    assert watched.fell == []


async def test_a_bug_in_the_agent_ends_the_process_and_nothing_is_skipped(fleet: Fleet) -> None:
    """An exception is exit code 1; the record that it met is redelivered to the next worker."""
    traffic = fleet.traffic()
    await traffic.burst(3000)
    first = fleet.start(fail_at="1777:")
    assert await first.ended() == 1
    assert b"1777:8" not in set(await fleet.output())
    second = fleet.start()
    await second.says("OffsetsCommitted(")
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)


async def test_a_crash_at_the_wrong_moment_of_a_rebalance_still_ends_the_process(fleet: Fleet) -> None:
    """The driver waits for an event loop that answers nothing any more; the process ends and the peer goes on."""
    traffic = fleet.traffic(per_second=500).start()
    first = fleet.start(crash_before_revoke="1")
    await first.says("OffsetsCommitted(")
    second = fleet.start()
    assert await first.ended() == 1
    assert "did not stop in time" not in first.text
    await second.says("Copying", "partitions=4")
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.disordered) == (0, 0)


async def test_an_acknowledgement_over_an_unfinished_chunk_ends_the_process(fleet: Fleet) -> None:
    """A bug that would commit over a record is exit code 1, says which chunk, and commits nothing."""
    traffic = fleet.traffic()
    await traffic.burst(8000)
    first = fleet.start(skip_heads="1")
    assert await first.ended() == 1
    assert "was acknowledged while the chunk 0-999 is not done" in first.text
    assert set((await fleet.committed()).values()) <= {0}  # where partitions begin
    fleet.start()
    assert (await fleet.count(traffic.sent)).missing == 0


@pytest.mark.parametrize("away_s", [2.0] if not os.environ.get("CHAOS_SECONDS") else [2.0, 15.0, 40.0])
async def test_a_broker_that_is_killed_and_restarted_costs_nothing(
    away_s: float,
    tmp_path: Path,
    chain_settings: Callable[..., Awaitable[Settings]],
    make_fleet: Callable[[Settings], Fleet],
) -> None:
    """The worker lives through it; what was in flight is written once."""
    with LocalKafka.start(tmp_path / "kafka") as kafka:
        fleet = make_fleet(await chain_settings(partitions=4, kafka_bootstrap_servers=kafka.bootstrap_servers))
        traffic = fleet.traffic(per_second=1000).start()
        worker = fleet.start()
        await worker.says("OffsetsCommitted(", times=3)
        await asyncio.to_thread(kafka.kill)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(kafka.restart)
        await worker.says("OffsetsCommitted(", times=3, since=worker.place)
        await traffic.end()
        count = await fleet.count(traffic.sent)
        assert (count.missing, count.repeated, count.disordered) == (0, 0, 0)
        assert await worker.stop() == 0
