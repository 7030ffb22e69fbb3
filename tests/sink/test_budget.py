"""The pace of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.budget import PacedBudget, share
from pipeline.sink.handover import SinkHandOver

Virtual = Callable[[Any], Any]


@given(st.floats(0.1, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=10))
def test_shares_add_up(limit: float, owned: list[int]) -> None:
    """The shares of all sinks together are the workspace's rate, never more."""
    total = sum(owned)
    shares = [share(limit, own, total) for own in owned]
    assert sum(shares) == pytest.approx(limit if total else 0.0)


def opened() -> SinkHandOver:
    """A hand-over that is open."""
    handover = SinkHandOver()
    handover.resume(1, frozenset({TP("t", 0)}))
    return handover


def test_paced(virtual: Virtual) -> None:
    """Requests are an interval apart, the first one interval after the assignment, with no burst after a pause."""

    async def scenario() -> list[float]:
        budget = PacedBudget(100.0, opened())
        budget.assign(1, 2)
        loop = asyncio.get_running_loop()
        times = []
        for number in range(60):
            if number == 30:
                await asyncio.sleep(10)
            assert await budget.turn()
            times.append(loop.time())
        return times

    times = virtual(scenario())
    assert times[0] == pytest.approx(0.02)
    assert all(later - earlier >= 0.02 - 1e-9 for earlier, later in pairwise(times))
    assert times[29] == pytest.approx(0.6)
    assert times[59] == pytest.approx(times[30] + 29 * 0.02)


def test_many_waiters_share_the_pace(virtual: Virtual) -> None:
    """However many lanes wait, the requests of any second stay within the rate."""

    async def scenario() -> list[float]:
        budget = PacedBudget(50.0, opened())
        budget.assign(4, 4)
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def lane() -> None:
            for _ in range(25):
                assert await budget.turn()
                times.append(loop.time())

        await asyncio.gather(*(lane() for _ in range(8)))
        return times

    times = virtual(scenario())
    assert len(times) == 200
    assert all(times[n + 50] - times[n] >= 1 - 1e-9 for n in range(150))


def test_hand_over_ends_the_wait(virtual: Virtual) -> None:
    """Whoever waits for a turn is sent away when the partitions go."""

    async def scenario() -> list[bool]:
        handover = opened()
        budget = PacedBudget(0.001, handover)
        budget.assign(1, 1)
        waiting = [asyncio.create_task(budget.turn()) for _ in range(3)]
        await asyncio.sleep(1)
        handover.begin()
        turns = await asyncio.gather(*waiting)
        assert asyncio.get_running_loop().time() == 1
        return turns

    assert virtual(scenario()) == [False, False, False]
