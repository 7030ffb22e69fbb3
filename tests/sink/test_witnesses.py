"""What others came to, before and after a moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.witnesses import KEPT, NEAR, Between, Nearby, Witnesses


def watched(results: str, witnesses: Witnesses | None = None) -> Witnesses:
    """Requests that were accepted (`+`) or not (`-`), a second apart."""
    witnesses = witnesses or Witnesses()
    for at, result in enumerate(results):
        if result == "+":
            witnesses.accepted(at - 0.5, at)
        else:
            witnesses.failed()
    return witnesses


def test_the_nearest_on_either_side() -> None:
    """Of many requests between two moments the eight next to each count."""
    witnesses = Witnesses()
    mark = witnesses.mark
    watched("---" + 30 * "+" + "--", witnesses)
    assert witnesses.since(mark) == Between(Nearby(3, NEAR), Nearby(2, NEAR), 30)


def test_none_is_on_both_sides() -> None:
    """Of few requests each is compared with one moment only; the odd one belongs to the first."""
    witnesses = Witnesses()
    mark = witnesses.mark
    watched("-+-", witnesses)
    assert witnesses.since(mark) == Between(Nearby(1, 2), Nearby(1, 1), 1)


def test_nothing_between() -> None:
    """Without a request in between, and for what never failed before, there is nothing to compare with."""
    witnesses = watched("++")
    assert witnesses.since(witnesses.mark) == Between()
    assert witnesses.since(None) == Between()


def test_what_is_no_comparison() -> None:
    """A success that others are not to be compared with still shows that Customer.io takes operations."""
    witnesses = Witnesses()
    mark = witnesses.mark
    witnesses.accepted(1.0, 9.0, compares=False)
    assert witnesses.since(mark) == Between(successes=1)
    assert (witnesses.after(0.5), witnesses.after(5.0), witnesses.ended_at) == (True, False, 9.0)


def test_long_ago() -> None:
    """More requests than are remembered: the later ones tell."""
    witnesses = Witnesses()
    mark = witnesses.mark
    watched("-" * KEPT + "+" * KEPT, witnesses)
    assert witnesses.since(mark) == Between(Nearby(0, NEAR), Nearby(0, NEAR), KEPT)


@given(st.text("+-", max_size=60), st.text("+-", max_size=60))
def test_counts(before: str, between: str) -> None:
    """Whatever came before the mark plays no part; no request is counted twice, and all are while they are few."""
    witnesses = watched(before)
    mark = witnesses.mark
    watched(between, witnesses)
    found = witnesses.since(mark)
    assert found.successes == between.count("+")
    assert found.after.requests == min(NEAR, (len(between) + 1) // 2)
    assert found.before.requests == min(NEAR, len(between) // 2)
    assert found.after.failed == between[: found.after.requests].count("-")
    assert found.before.failed == between[len(between) - found.before.requests :].count("-")
