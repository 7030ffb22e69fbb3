"""The throttle: its rules one by one, and its behaviour over minutes against APIs that are data."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond
from pipeline.sink.pace import Pace
from pipeline.sink.throttle import FLOOR, STALE_S, STEP, Throttle

SCENARIOS = sorted((Path(__file__).parents[1] / "data" / "controller").glob("*.yaml"))


def test_a_refusal_halves() -> None:
    """A 429 halves the factor, at once."""
    throttle = Throttle()
    assert throttle.refused(sent_at=10.0, now=10.1)
    assert throttle.factor(10.1) == 0.5


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 60)), max_size=20))
def test_one_decrease_for_one_overload(answers: list[tuple[float, float]]) -> None:
    """429s of requests that left before the last decrease, or while its second lasts, change nothing, however late."""
    throttle = Throttle()
    throttle.refused(sent_at=1.9, now=2.0)
    for sent_at, late_s in answers:
        if sent_at < 3.0:
            assert not throttle.refused(sent_at, max(sent_at, 2.0) + late_s)
    assert throttle.factor(3.0) == 0.5
    assert throttle.refused(sent_at=3.0, now=3.1)
    assert throttle.factor(3.1) == 0.25


def test_success_adds_back() -> None:
    """Successes give a twentieth back each second, never more than the whole; older requests' successes count not."""
    throttle = Throttle()
    throttle.refused(sent_at=0.0, now=0.1)
    assert not throttle.passed(sent_at=0.05, now=5.0)
    for second in range(1, 20):
        for part in range(10):
            throttle.passed(sent_at=second + part / 10, now=second + part / 10 + 0.15)
        assert throttle.factor(second + 1.05) == pytest.approx(min(0.5 + STEP * second, 1.0))


def test_the_clock_adds_back() -> None:
    """With nothing to send the factor stands for a minute after the last 429, then climbs as it would by successes."""
    throttle = Throttle()
    throttle.refused(sent_at=0.0, now=0.1)
    throttle.refused(sent_at=2.0, now=2.1)
    assert throttle.factor(2.1 + STALE_S) == 0.25
    assert throttle.factor(2.1 + STALE_S + 5) == pytest.approx(0.25 + 5 * STEP)
    assert throttle.factor(2.1 + STALE_S + 15) == pytest.approx(1.0)
    assert throttle.factor(86_400.0) == 1.0


def test_a_429_after_a_quiet_time_halves_what_was_added_back() -> None:
    """What the clock added back counts: the next 429 halves the rate that was used, and the minute begins anew."""
    throttle = Throttle()
    throttle.refused(sent_at=0.0, now=0.0)
    assert throttle.refused(sent_at=STALE_S + 6, now=STALE_S + 6)
    assert throttle.factor(2 * STALE_S + 6) == pytest.approx((0.5 + 6 * STEP) / 2)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_no_leap(pauses_s: list[float]) -> None:
    """However seldom requests pass, the factor climbs by a step a second and one a success, never at once."""
    throttle, now, before = Throttle(), 0.0, FLOOR
    for number in range(5):
        now = 2.0 * number
        throttle.refused(sent_at=now, now=now)
    assert throttle.factor(now) == FLOOR
    for pause_s in pauses_s:
        now += pause_s
        assert before <= throttle.factor(now) <= before + STEP * pause_s + 1e-9
        throttle.passed(sent_at=now, now=now)
        assert throttle.factor(now) <= before + STEP * max(pause_s, 1.0) + 1e-9
        before = throttle.factor(now)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0, 10))))
def test_bounds(answers: list[tuple[bool, float, float]]) -> None:
    """Whatever comes in whatever order, the factor stays between its floor and one, and says when it changes."""
    throttle, now = Throttle(), 0.0
    for refused, pause_s, took_s in answers:
        now += pause_s
        before = throttle.factor(now)
        changed = (throttle.refused if refused else throttle.passed)(now - took_s, now)
        after = throttle.factor(now)
        assert FLOOR <= after <= 1.0
        assert changed == (after != before)
        assert after <= before if refused else after >= before


@dataclass
class Run:
    """What happened in one scenario: requests (sent at, accepted), and the factor over time."""

    requests: list[tuple[float, bool]] = field(default_factory=list)
    factors: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 1.0)])

    def statistic(self, name: str, start: float, end: float) -> Iterator[float]:
        """The values of a statistic between two times, all of which must lie in the allowed range."""
        requests = [(at, accepted) for at, accepted in self.requests if start <= at < end]
        before = [factor for at, factor in self.factors if at <= start][-1]
        factors = [before, *(factor for at, factor in self.factors if start < at < end)]
        match name:
            case "sent_per_second":
                yield len(requests) / (end - start)
            case "accepted_per_second":
                yield sum(accepted for _, accepted in requests) / (end - start)
            case "refused_share":
                yield sum(not accepted for _, accepted in requests) / len(requests)
            case "most_in_a_second":
                window = SlidingSecond()
                yield max(window.arrive(at) for at, _ in requests)
            case "factor":
                yield from factors
            case "decreases":
                yield sum(later < earlier for earlier, later in pairwise(factors))
            case _:
                raise AssertionError(name)


def simulate(scenario: dict[str, Any]) -> Run:
    """A backlog without end, against an API that counts arrivals in a sliding second, refused ones included.

    Lanes do not back off here, so the throttle is all that slows the requests down.
    """
    chance = random.Random(7)
    run, throttle, window = Run(), Throttle(), SlidingSecond()
    share = scenario["requests_per_second"]
    pace = Pace(share)
    pace.restart(share, 0.0)
    answers: list[tuple[float, float, bool]] = []
    while (due := pace.due()) < scenario["seconds"]:
        if answers and answers[0][0] <= due:
            now, sent_at, accepted = heapq.heappop(answers)
            if (throttle.passed if accepted else throttle.refused)(sent_at, now):
                run.factors.append((now, throttle.factor(now)))
            pace.per_second = share * throttle.factor(now)
            continue
        now = due if not run.requests else max(due, run.requests[-1][0])
        now += chance.uniform(*scenario["timer_late_s"]) if now == due else 0.0
        pace.leave(now)
        limit = [limit for at, limit in scenario["limits"].items() if at <= now][-1]
        accepted = window.arrive(now) <= limit
        run.requests.append((now, accepted))
        heapq.heappush(answers, (now + chance.uniform(*scenario["latency_s"]), now, accepted))
    return run


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """Every statistic of the scenario lies in the range that its file allows."""
    scenario = yaml.safe_load(path.read_text(encoding="utf-8"))
    run = simulate(scenario)
    outside = []
    for expected in scenario["expect"]:
        start, end = expected.pop("from"), expected.pop("to")
        assert expected
        for name, (lowest, highest) in expected.items():
            values = list(run.statistic(name, start, end))
            if not lowest <= min(values) <= max(values) <= highest:
                outside.append(f"{name} from {start} to {end} s: {min(values):.4g} to {max(values):.4g}, "
                               f"allowed {lowest} to {highest}")  # fmt: skip
    assert not outside, "\n".join(outside)


def test_every_scenario_is_there() -> None:
    """The four situations that the throttle is made for are among the files."""
    names = {path.stem for path in SCENARIOS}
    assert names >= {"steady-limit", "limit-halves-and-recovers", "pure-429-storm", "jittery-link"}
