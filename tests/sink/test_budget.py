"""The pace of requests: each sink's, and that of all sinks together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond
from pipeline.sink.budget import CATCH_UP_S, JITTER_S, SETTLE_S, Pace, PacedBudget, share
from pipeline.sink.events import BudgetShared, RateFactorChanged, RequestEnded, SinkEvent, TurnTaken
from pipeline.sink.handover import SinkHandOver

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


@dataclass(frozen=True)
class Generation:
    """Who has how many partitions, for how long, after how much time in which nobody has any."""

    owned: tuple[int, ...]
    lasts_s: float
    gap_s: float


GENERATIONS = st.lists(
    st.builds(
        Generation,
        owned=st.lists(st.integers(0, 6), min_size=4, max_size=4).map(tuple),
        lasts_s=st.floats(0.05, 2.5),
        gap_s=st.sampled_from([0.0, 0.0, 0.01, 0.3]),
    ),
    min_size=1,
    max_size=6,
)


@given(
    limit=st.one_of(st.sampled_from([1.0, 10.0, 20.0, 50.0, 100.0]), st.floats(0.5, 120.0)),
    generations=GENERATIONS,
    late_s=st.lists(st.floats(0, 0.2) | st.floats(0, 0.005), min_size=1, max_size=7),
    jitter_s=st.lists(st.floats(0, JITTER_S, exclude_max=True), min_size=1, max_size=7),
    factors=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_never_above_the_limit(
    *,
    limit: float,
    generations: list[Generation],
    late_s: list[float],
    jitter_s: list[float],
    factors: list[float],
    seed: int,
) -> None:
    """However late timers fire, shares move and 429s change the rate: in any sliding second of arrivals all sinks
    together have at most the limit and one request each, and each of them its own share and one."""  # noqa: D205, D209 - one promise
    chance = random.Random(seed)
    paces = [Pace(limit) for _ in range(4)]
    arrivals: list[float] = []
    now = 0.0
    for generation in generations:
        now += generation.gap_s
        end = now + generation.lasts_s
        for pace, own in zip(paces, generation.owned, strict=True):
            rate = share(limit, own, sum(generation.owned))
            if not rate:
                continue
            began = now + chance.choice([0.0, 0.0, 0.02])
            pace.restart(rate * chance.choice(factors), began)
            mine: list[float] = []
            clock = began
            while (clock := max(clock, pace.due()) + chance.choice(late_s)) < end:
                pace.leave(clock)
                mine.append(clock + chance.choice(jitter_s))
                pace.per_second = rate * chance.choice(factors)
            assert most_in_a_second(mine) <= rate + 1
            arrivals += mine
        now = end
    assert most_in_a_second(arrivals) <= limit + len(paces)


def test_shares_move_while_their_owners_catch_up() -> None:
    """Eight sinks make up for a late timer, and a ninth gets all partitions in the same second: none has too many."""
    limit = 99.9
    arrivals: list[float] = []
    moved_at = 0.0
    for pace in [Pace(limit / 8) for _ in range(8)]:
        pace.restart(limit / 8, 0.0)
        while (due := pace.due()) < 1.0:
            pace.leave(due)
        clock = due + CATCH_UP_S
        moved_at = clock + 6 / pace.per_second - CATCH_UP_S + 1e-6
        while (clock := max(clock, pace.due())) < moved_at:
            pace.leave(clock)
            arrivals.append(clock)
    heir = Pace(limit)
    heir.restart(limit, moved_at)
    while (due := heir.due()) < 3.0:
        heir.leave(due)
        arrivals.append(due)
    assert most_in_a_second(arrivals) <= limit + 9


@given(
    rate=st.one_of(st.sampled_from([5.0, 20.0, 50.0, 100.0, 1000.0]), st.floats(1.0, 1000.0)),
    late_s=st.lists(st.floats(0, CATCH_UP_S), min_size=1, max_size=50),
)
def test_late_timers_cost_no_rate(rate: float, late_s: list[float]) -> None:
    """With a backlog and timers as late as loops are, at least 95 % of the rate is used."""
    pace, requests = Pace(rate), 0
    pace.restart(rate, 0.0)
    clock, end = 0.0, 20.0 + 100 / rate
    while (due := pace.due()) < end:
        clock = due + late_s[requests % len(late_s)] if due > clock else clock
        pace.leave(clock)
        requests += 1
    assert requests >= 0.95 * rate * (end - SETTLE_S) - 1


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
    """The line is ordered by when the wait began; one that began elsewhere counts from there."""
    went: list[str] = []

    async def scenario() -> None:
        budget = PacedBudget(1.0, opened())
        budget.assign(1, 1)

        async def lane(name: str, since: float | None = None) -> None:
            assert await budget.turn(since)
            went.append(name)

        waiting = []
        for name in ("first", "second", "third"):
            waiting.append(asyncio.create_task(lane(name)))
            await asyncio.sleep(0.1)
        waiting.append(asyncio.create_task(lane("waited at a barrier", since=0.05)))
        waiting.append(asyncio.create_task(lane("came before all", since=-5.0)))
        await asyncio.gather(*waiting)

    virtual(scenario())
    assert went == ["came before all", "first", "waited at a barrier", "second", "third"]


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
    assert len(times) > 60
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
