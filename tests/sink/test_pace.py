"""The pace of one sink, and that of all of them together while shares move."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond
from pipeline.sink.budget import share
from pipeline.sink.pace import CATCH_UP_S, JITTER_S, SETTLE_S, Pace


def most_in_a_second(times: Sequence[float]) -> int:
    """The most arrivals in any sliding second, counted as the sandbox counts them."""
    window = SlidingSecond()
    return max((window.arrive(at) for at in sorted(times)), default=0)


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
