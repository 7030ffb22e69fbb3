"""The pace of requests: each sink's, and that of all sinks together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond
from pipeline.sink.budget import PacedBudget, share
from pipeline.sink.demand import RESERVE
from pipeline.sink.events import BudgetShared, LeasesChanged, RateFactorChanged, RequestEnded, SinkEvent, TurnTaken
from pipeline.sink.handover import SinkHandOver
from pipeline.sink.leases import Lease
from pipeline.sink.pace import CATCH_UP_S, SETTLE_S

Virtual = Callable[[Any], Any]


def most_in_a_second(times: Sequence[float]) -> int:
    """The most arrivals in any sliding second, counted as the sandbox counts them."""
    window = SlidingSecond()
    return max((window.arrive(at) for at in sorted(times)), default=0)


@given(st.floats(0.1, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=10))
def test_shares_add_up(limit: float, owned: list[int]) -> None:
    """The shares of all sinks together are the workspace's rate, never more."""
    total = sum(owned)
    shares = [share(limit, own, total) for own in owned]
    assert sum(shares) == pytest.approx(limit if total else 0.0)


def test_share_with_an_old_view_of_the_topic() -> None:
    """A sink that was given more partitions than it knows of takes no more than the whole rate."""
    assert share(100.0, 6, 4) == 100.0
    assert share(100.0, 2, 0) == 100.0


def opened() -> SinkHandOver:
    """A hand-over that is open."""
    handover = SinkHandOver()
    handover.resume(1, frozenset({TP("t", 0)}))
    return handover


def test_paced(virtual: Virtual) -> None:
    """Requests are an interval apart, the first one an interval after the assignment, with no burst after a pause."""

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
    assert times[0] == pytest.approx(0.02 + SETTLE_S)
    assert times[29] == pytest.approx(0.6 + SETTLE_S)
    assert all(later - earlier >= 0.02 - 1e-9 for earlier, later in pairwise(times[:30]))
    assert times[30] == pytest.approx(times[29] + 10)
    assert all(later - earlier >= 0.02 - CATCH_UP_S - 1e-9 for earlier, later in pairwise(times[30:]))
    assert times[59] == pytest.approx(times[30] + 29 * 0.02 - CATCH_UP_S)


def test_when_the_next_request_may_leave_is_known(virtual: Virtual) -> None:
    """What the next one is waited for by those who fetch operations for it."""

    async def scenario() -> None:
        handover = SinkHandOver()
        budget = PacedBudget(10.0, handover)
        handover.resume(1, frozenset())
        assert await budget.turn()
        assert budget.next_due == budget.due()
        assert await budget.turn()
        assert asyncio.get_running_loop().time() < budget.next_due == budget.due()

    virtual(scenario())


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
    assert most_in_a_second(times) <= 51
    assert times[-1] - times[0] == pytest.approx(199 / 50)


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


def test_who_waited_longest_goes_first(virtual: Virtual) -> None:
    """First come, first served."""
    went: list[str] = []

    async def scenario() -> None:
        budget = PacedBudget(1.0, opened())
        budget.assign(1, 1)

        async def lane(name: str) -> None:
            assert await budget.turn()
            went.append(name)

        waiting = []
        for name in ("first", "second", "third"):
            waiting.append(asyncio.create_task(lane(name)))
            await asyncio.sleep(0.1)
        await asyncio.gather(*waiting)

    virtual(scenario())
    assert went == ["first", "second", "third"]


def ended(status: int, outcome: Any, took_s: float) -> RequestEnded:
    """A request that was answered just now."""
    return RequestEnded(0, 1, 100, 1, outcome, status, took_s)


def test_429s_lower_the_rate_and_successes_raise_it(virtual: Virtual) -> None:
    """A 429 halves the pace at once, other failures do not, success gives it back; each change is told."""
    told: list[SinkEvent] = []

    async def scenario() -> None:
        budget = PacedBudget(100.0, opened(), told.append)
        budget.assign(2, 4)
        await asyncio.sleep(1)
        budget.observe(ended(503, "retry", 0.1))
        assert (budget.per_second, budget.share_per_second) == (50.0, 50.0)
        for _ in range(8):  # one for each lane, of the same second
            budget.observe(ended(429, "retry", 0.1))
        assert (budget.factor, budget.per_second, budget.share_per_second) == (0.5, 25.0, 50.0)
        began = asyncio.get_running_loop().time()
        for _ in range(26):
            assert await budget.turn()
        assert asyncio.get_running_loop().time() - began >= 25 / 25.0 - CATCH_UP_S
        assert budget.used_per_second in {25, 26}
        budget.observe(ended(200, "accepted", 0.1))
        assert budget.per_second == 25.0, "no second has passed"
        await asyncio.sleep(0.1)
        budget.observe(ended(200, "accepted", 0.1))
        assert budget.per_second == pytest.approx(27.5)
        budget.assign(4, 4)
        assert budget.per_second == pytest.approx(55.0)

    virtual(scenario())
    assert told[0] == BudgetShared(2, 4, 50.0)
    changes = [one for one in told if isinstance(one, RateFactorChanged)]
    assert [(one.factor, round(one.per_second, 6), one.cause) for one in changes] == [
        (0.5, 25.0, "throttled"),
        (0.55, 27.5, "success"),
    ]
    assert sum(isinstance(one, TurnTaken) for one in told) == 26


def test_a_sink_without_requests_is_not_throttled_for_ever(virtual: Virtual) -> None:
    """What 429s took comes back with time when nothing is sent any more, without partitions too."""

    async def scenario() -> None:
        budget = PacedBudget(100.0, opened())
        budget.assign(2, 4)
        for _ in range(2):
            await asyncio.sleep(2)
            budget.observe(ended(429, "retry", 0.1))
        assert budget.factor == 0.25
        budget.assign(0, 4)
        await asyncio.sleep(300)
        assert budget.factor == 1.0
        budget.assign(2, 4)
        assert budget.per_second == 50.0

    virtual(scenario())


def test_what_is_lent_and_borrowed(virtual: Virtual) -> None:
    """The rate is the share, less what is lent, with what is borrowed, for as long as the leases last; told once."""
    told: list[SinkEvent] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        budget = PacedBudget(100.0, opened(), told.append, lease_clock=loop.time)
        budget.assign(1, 4)
        budget.lent.promise("a", Lease(20.0, until=3.0))
        budget.borrowed.replace({"b": Lease(40.0, until=2.0)})
        for _ in range(2):
            budget.refresh()
        assert (budget.lent_per_second, budget.borrowed_per_second, budget.per_second) == (20.0, 40.0, 45.0)
        await asyncio.sleep(2)
        assert budget.per_second == 5.0
        budget.refresh()
        await asyncio.sleep(1)
        assert budget.per_second == 25.0
        budget.borrowed.replace({"b": Lease(400.0, until=9.0)})
        assert budget.per_second == 100.0, "never above the workspace's rate"
        budget.lent.promise("a", Lease(400.0, until=9.0))
        assert budget.per_second == 75.0 + 25.0 * RESERVE, "a share that got smaller is not overdrawn"

    virtual(scenario())
    changes = [one for one in told if isinstance(one, LeasesChanged)]
    assert changes == [LeasesChanged(20.0, 40.0, 45.0), LeasesChanged(20.0, 0.0, 5.0)]


def test_a_loan_is_used_at_once_and_not_beyond_its_end(virtual: Virtual) -> None:
    """Whoever waits goes on at the new rate; when it ends, no second has more than the old rate allows from then on."""

    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        budget = PacedBudget(100.0, opened(), lease_clock=loop.time)
        budget.assign(1, 100)
        times: list[float] = []

        async def lane() -> None:
            while loop.time() < 10.0:
                assert await budget.turn()
                times.append(loop.time())

        lanes = [asyncio.create_task(lane()) for _ in range(8)]
        await asyncio.sleep(2.5)
        budget.borrowed.replace({"b": Lease(79.0, until=5.0)})
        budget.refresh()
        await asyncio.gather(*lanes)
        return times

    times = virtual(scenario())
    assert len([at for at in times if at < 2.5]) <= 3
    assert 76 <= len([at for at in times if 2.6 <= at < 3.6]) <= 81
    assert most_in_a_second([at for at in times if at >= 5.0]) <= 2
    assert most_in_a_second(times) <= 81


def test_retries_and_halves_pass_the_same_budget(virtual: Virtual, api: Any, make: Any) -> None:
    """Failures, repeats, bisection and what is resent alone: no second has more requests than the rate allows."""
    api.script = [api.status(503), api.lost, api.unreachable, api.status(429)] * 4
    api.last = api.poisoned
    rig = make.rig(api, lanes=8, rate=10.0)

    async def scenario() -> None:
        async with rig:
            poison = {7, 40, 41, 90, 133}
            await rig.take(*(make.record(f"p{n}", n, **({"poison": True} if n in poison else {})) for n in range(150)))
            await rig.settled()

    virtual(scenario())
    times = [at for at, _ in api.requests]
    assert len(times) > 40
    assert most_in_a_second(times) <= 11
    assert len(rig.producer.letters) == 5


@pytest.mark.parametrize(
    ("headers", "held_s"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "86400"}, 300),
        ({"Retry-After": "Wed, 25 Nov 2026 10:00:42 GMT", "Date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 42),
        ({"Retry-After": "Fri, 27 Nov 2026 10:00:00 GMT", "Date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 300),
    ],
    ids=["seconds", "seconds above the cap", "date", "date above the cap"],
)
def test_retry_after_holds_all_lanes(
    virtual: Virtual, api: Any, make: Any, headers: dict[str, str], held_s: float
) -> None:
    """In both of its forms, and at most five minutes: no lane sends before that, and every lane does soon after."""
    api.script = [api.status(429, headers=headers)]
    rig = make.rig(api, lanes=8, rate=100.0)

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0))
            await asyncio.sleep(1)
            await rig.take(*(make.record(f"p{n}", n) for n in range(1, 40)))
            await rig.settled()

    virtual(scenario())
    refused_at, *later = [at for at, _ in api.requests]
    assert min(later) >= refused_at + held_s
    assert max(later) <= refused_at + held_s + 1
    assert len(api.accepted) == 40
