"""Minutes of workers that come, go, die and freeze at random, and the count at the end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chaos.conftest import Fleet, Offsets
    from tests.workers import WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LONG_S = float(os.environ.get("CHAOS_SECONDS") or 0)
SHORT_S = 6.0
MOST_WORKERS = 3


class Monkey:
    """Lets workers come and go, one event at a time."""

    def __init__(self, fleet: Fleet, seed: int, ways: list[str]) -> None:
        self.fleet = fleet
        self.dice = random.Random(seed)
        self.ways = ways
        self.running: list[WorkerProcess] = [fleet.start(), fleet.start()]
        self.events = 0

    async def act(self) -> None:
        """Start one more, or end or freeze one of several."""
        self.events += 1
        if len(self.running) < 2 or (len(self.running) < MOST_WORKERS and self.dice.random() < 0.5):
            self.running.append(self.fleet.start())
            return
        worker = self.dice.choice(self.running)
        await worker.says("BatchWorker]: Starting...")  # from here on it hears signals
        match self.dice.choice(self.ways):
            case "term":
                self.running.remove(worker)
                worker.send(signal.SIGTERM)
            case "kill":
                self.running.remove(worker)
                worker.send(signal.SIGKILL)
            case "freeze":
                worker.send(signal.SIGSTOP)
                await asyncio.sleep(self.dice.uniform(1.0, 16.0))
                worker.send(signal.SIGCONT)

    async def run(self, seconds: float) -> None:
        """Act for so long, at random moments."""
        until = time.monotonic() + seconds
        while time.monotonic() < until or not self.events:
            await asyncio.sleep(self.dice.uniform(0.2, 4.0))
            await self.act()


async def test_clean_hand_overs_repeat_nothing(fleet: Fleet, seed: int) -> None:
    """Workers join and are stopped, also while they join: every record arrives once and in order."""
    traffic = fleet.traffic(per_second=3000).start()
    monkey = Monkey(fleet, seed, ["term"])
    await monkey.run(LONG_S or SHORT_S)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    assert (count.missing, count.repeated, count.disordered) == (0, 0, 0), f"CHAOS_SEED={seed}"
    ended = [await worker.ended() for worker in fleet.workers if worker not in monkey.running]
    assert set(ended) <= {0}


@pytest.mark.skipif(not LONG_S, reason="long form: make chaos")
async def test_deaths_and_freezes_lose_nothing(
    fleet: Fleet, seed: int, watch_offsets: Callable[[Fleet], Offsets]
) -> None:
    """Workers are killed and frozen for up to 16 s as well: nothing is lost, no order broken, no offset goes back."""
    traffic = fleet.traffic(per_second=3000).start()
    watched = watch_offsets(fleet)
    monkey = Monkey(fleet, seed, ["term", "kill", "freeze"])
    await monkey.run(LONG_S)
    await traffic.end()
    count = await fleet.count(traffic.sent)
    print(f"{len(traffic.sent)} records, {monkey.events} events: {count}")  # noqa: T201 - the soak's result
    assert (count.missing, count.disordered) == (0, 0), f"CHAOS_SEED={seed}"
    assert watched.fell == []
