"""One record's fault, or everybody's."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.poison.patience import COMPARED_TRIES, GIVE_UP_BELOW, HALVE_BELOW, Patience
from pipeline.sink.witnesses import Witnesses


def fail(
    patience: Patience, operations: int, times: range, others: str = "++", witnesses: Witnesses | None = None
) -> list[str]:
    """Failures at `times`; before each, others are accepted (`+`) or not (`-`), half a second ago."""
    witnesses = witnesses or Witnesses()
    verdicts: list[str] = []
    for at in times:
        for result in others:
            if result == "+":
                witnesses.accepted(at - 0.6, at - 0.5)
            else:
                witnesses.failed()
        verdicts.append(patience.failed(operations, at, witnesses, 300.0))
    return verdicts


def test_a_batch_is_halved_after_the_limit() -> None:
    """Five minutes of failing while others succeed, then every failure halves."""
    verdicts = fail(Patience(), 8, range(0, 400, 10))
    assert verdicts.count("again") == 30
    assert set(verdicts[30:]) == {"halve"}


def test_one_alone_is_given_up_after_the_limit() -> None:
    """A record that was alone all the time is given up at the limit."""
    verdicts = fail(Patience(), 1, range(0, 301, 10))
    assert verdicts.index("give-up") == 30


def test_a_half_is_judged_by_itself() -> None:
    """What was in a batch before is given up only after it has failed against the odds alone."""
    patience, witnesses = Patience(), Witnesses()
    fail(patience, 2, range(0, 400, 10), witnesses=witnesses)
    verdicts = fail(patience.inherited(), 1, range(400, 700, 10), 16 * "+", witnesses)
    assert verdicts.index("give-up") == 8, "one in 17 each, and the last is not judged yet"


def test_the_odds_are_those_of_being_among_the_failed() -> None:
    """With f failures among n others near an attempt, an innocent one fails with a chance of (f + 1) / (n + 1)."""
    patience = Patience()
    fail(patience, 1, range(0, 30, 10), "+--+")
    assert patience.odds == pytest.approx((2 / 3) * (3 / 5)), "nobody came before the first"


def test_moments_without_others_are_one_moment() -> None:
    """Attempts with nobody else's between them prove no more than one of them."""
    patience, witnesses = Patience(), Witnesses()
    fail(patience, 1, range(0, 20, 10), witnesses=witnesses)
    assert patience.odds == 1 / 2
    fail(patience, 1, range(20, 200, 10), "", witnesses)
    assert patience.odds == 1 / 2
    fail(patience, 1, range(200, 210, 10), witnesses=witnesses)
    assert patience.odds == pytest.approx((1 / 2) * (1 / 3))


def test_few_attempts_are_never_enough() -> None:
    """However many others succeed, three attempts alone are made, and more as the odds demand."""
    verdicts = fail(Patience(lone_s=900.0, failed_at=0.0), 1, range(10, 200, 10), 1000 * "+")
    assert verdicts.index("give-up") == 8


@given(st.lists(st.floats(0.1, 600), min_size=1, max_size=100), st.integers(1, 3))
def test_an_outage_has_no_limit(pauses: list[float], operations: int) -> None:
    """However long nothing at all is accepted, nothing is given up or halved."""
    patience, witnesses, now = Patience(), Witnesses(), 0.0
    for pause in pauses:
        now += pause
        witnesses.failed()
        assert patience.failed(operations, now, witnesses, 300.0) == "again"


def test_an_old_success_proves_nothing() -> None:
    """Others that succeeded before everything broke count for a minute of it, not for an hour."""
    witnesses = Witnesses()
    witnesses.accepted(0.5, 1.0)
    patience = Patience()
    assert set(fail(patience, 4, range(0, 3600, 10), "-", witnesses)) == {"again"}
    assert patience.lone_s == 61.0


def test_an_outage_in_the_middle_gives_nothing_up() -> None:
    """A record alone past the limit and all odds waits as soon as the others fail as well."""
    patience = Patience(lone_s=900.0, failed_at=0.0, tries=50, alone=50, odds=1e-30, mark=Witnesses().mark)
    witnesses = Witnesses()
    assert fail(patience, 1, range(10, 100, 10), "--", witnesses) == ["again"] * 9
    assert fail(patience, 1, range(100, 110, 10), "+", witnesses) == ["give-up"]


def test_who_is_to_be_judged_is_no_witness() -> None:
    """A record that has failed for long is not compared with: culprits in every lane do not hide one another."""
    patience, witnesses = Patience(lone_s=900.0, failed_at=0.0), Witnesses()
    mark = witnesses.mark
    fail(patience, 1, range(10, 500, 10), "", witnesses)
    counted = witnesses.since(mark)
    assert counted.after.requests + counted.before.requests == COMPARED_TRIES


def test_an_innocent_in_a_brown_out() -> None:
    """Of 20,000 innocent runs at 30 to 90 % of failures the share that ends below a bound is no larger than the bound.

    With bounds of 1e-9 nothing could be counted; the odds are the same function at any bound.
    """
    chance = random.Random(7)
    bound, runs, over = 0.01, 20_000, 0
    for _ in range(runs):
        share, witnesses, patience = chance.uniform(0.3, 0.9), Witnesses(), Patience()
        others = chance.randrange(1, 12)
        while chance.random() < share:  # it fails, too
            patience.failed(1, 0.0, witnesses, 1e9)
            for _ in range(others):
                if chance.random() < share:
                    witnesses.failed()
                else:
                    witnesses.accepted(0.0, 0.0)
            over += patience.odds <= bound
            if patience.odds <= bound:
                break
    assert over <= bound * runs
    assert GIVE_UP_BELOW < HALVE_BELOW < bound
