"""One record's fault, or everybody's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.patience import Patience, Successes

NEVER = float("-inf")


def fail(patience: Patience, operations: int, times: range, others: float | None) -> list[str]:
    """Failures at `times`; others succeed half a second before each, or last at `others`."""
    return [patience.failed(operations, at, at - 0.5 if others is None else others, 300.0) for at in times]


def test_a_batch_is_halved_after_the_limit() -> None:
    """Five minutes of failing while others succeed, then every failure halves."""
    verdicts = fail(Patience(), 8, range(0, 400, 10), None)
    assert verdicts.count("again") == 30
    assert set(verdicts[30:]) == {"halve"}


def test_one_alone_is_given_up_after_the_limit() -> None:
    """A record that was alone all the time is given up at the limit."""
    verdicts = fail(Patience(), 1, range(0, 301, 10), None)
    assert verdicts.index("give-up") == 30


def test_a_half_has_a_few_attempts_alone() -> None:
    """What was in a batch before is given up only after three more failures with others' success between them."""
    patience = Patience()
    fail(patience, 2, range(0, 400, 10), None)
    verdicts = fail(patience.inherited(), 1, range(400, 440, 10), None)
    assert verdicts == ["again", "again", "give-up", "give-up"]


@given(st.lists(st.floats(0.1, 600), min_size=1, max_size=100), st.integers(1, 3))
def test_an_outage_has_no_limit(pauses: list[float], operations: int) -> None:
    """However long nothing at all is accepted, nothing is given up or halved."""
    patience, now = Patience(), 0.0
    for pause in pauses:
        now += pause
        assert patience.failed(operations, now, NEVER, 300.0) == "again"


def test_an_old_success_proves_nothing() -> None:
    """Others that succeeded before everything broke count for a minute of it, not for an hour."""
    assert set(fail(Patience(), 4, range(0, 3600, 10), 1.0)) == {"again"}


def test_an_outage_in_the_middle_gives_nothing_up() -> None:
    """A record alone past the limit waits as soon as the others fail as well."""
    patience = Patience(is_over=True, failed_at=0.0, alone=5)
    assert patience.failed(1, 10.0, NEVER, 300.0) == "again"
    assert patience.failed(1, 20.0, -5.0, 300.0) == "again"
    assert patience.failed(1, 30.0, 25.0, 300.0) == "give-up"


def test_successes() -> None:
    """A success counts from when its request was sent: one sent before says nothing about what came later."""
    successes = Successes()
    assert not successes.after(0.0)
    successes.add(1.0, 9.0)
    assert (successes.after(0.5), successes.after(5.0), successes.ended_at) == (True, False, 9.0)
