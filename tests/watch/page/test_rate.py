"""Rates between looks."""

from __future__ import annotations

from pipeline.watch.page.rate import Rate


def test_the_rate_of_the_last_seconds() -> None:
    """It goes by the window, so that a burst that has ended leaves it."""
    rate = Rate()
    assert rate.after(100.0, 0) is None, "nothing to compare with"
    assert rate.after(102.0, 50) == 25.0
    assert rate.after(104.0, 50) == 12.5
    assert [rate.after(float(at), 50) for at in (106, 108, 110, 112)][-1] == 0.0


def test_nobody_looked_for_long() -> None:
    """The mean of a night is no rate of now."""
    rate = Rate()
    rate.after(0.0, 0)
    assert rate.after(30_000.0, 9_000_000) is None
    assert rate.after(30_002.0, 9_000_010) == 5.0


def test_a_count_that_begins_anew() -> None:
    """No rate is below zero."""
    rate = Rate()
    rate.after(0.0, 100)
    assert rate.after(2.0, 3) is None
    assert rate.after(4.0, 7) == 2.0


def test_two_looks_at_once() -> None:
    """Nothing is divided by zero."""
    rate = Rate()
    rate.after(1.0, 5)
    assert rate.after(1.0, 6) is None
