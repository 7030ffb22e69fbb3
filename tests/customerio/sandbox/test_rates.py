"""A sliding second is counted by arrival, without windows that reset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond

TICKS = 1024
"""In a second: parts that floats hold exactly. Whether an arrival of exactly a second ago still counts would otherwise
depend on rounding (1.001 - 0.001 is less than 1)."""


@given(st.lists(st.integers(0, 400), max_size=80))
def test_counts_the_second_that_ends_now(gaps: list[int]) -> None:
    """Each arrival sees how many came within the second before it, itself included, and the most is remembered."""
    rate, now, arrivals, counts = SlidingSecond(), 0, [], []
    for gap in gaps:
        now += gap
        arrivals.append(now)
        counts.append(rate.arrive(now / TICKS))
        assert counts[-1] == sum(1 for at in arrivals if now - at < TICKS)
    assert rate.most == max(counts, default=0)


def test_a_burst_across_a_full_second_is_one_burst() -> None:
    """Half before and half after the turn of a second is the whole in one second."""
    rate = SlidingSecond()
    for at_s in (0.9, 0.95, 1.05, 1.1):
        rate.arrive(at_s)
    assert rate.most == 4
