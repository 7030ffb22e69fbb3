"""A sliding second is counted by arrival, without windows that reset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.rates import SlidingSecond


@given(st.lists(st.integers(0, 400), max_size=80))
def test_counts_the_second_that_ends_now(gaps_ms: list[int]) -> None:
    """Each arrival sees how many came within the second before it, itself included, and the most is remembered."""
    rate, now_ms, arrivals, counts = SlidingSecond(), 0, [], []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        arrivals.append(now_ms)
        counts.append(rate.arrive(now_ms / 1000))
        assert counts[-1] == sum(1 for at_ms in arrivals if now_ms - at_ms < 1000)
    assert rate.most == max(counts, default=0)


def test_a_burst_across_a_full_second_is_one_burst() -> None:
    """Half before and half after the turn of a second is the whole in one second."""
    rate = SlidingSecond()
    for at_s in (0.9, 0.95, 1.05, 1.1):
        rate.arrive(at_s)
    assert rate.most == 4
