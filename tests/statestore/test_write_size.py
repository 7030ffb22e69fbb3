"""How much one transaction of a restore writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.write_size import LONGEST_S, MOST, next_size

WORK_S = 0.015
"""A thousand keys."""


def settled(wait_s: float, per_key_s: float = 0.0) -> int:
    """The size at which a restore arrives on a disk that lets each transaction wait so long, and longer by its size."""
    times = 1
    for _ in range(20):
        times = next_size(times, times * WORK_S, wait_s + times * per_key_s)
    return times


def test_a_disk_that_is_well_gets_little_at_once() -> None:
    """What a transaction touches is memory, and a large one is no faster there."""
    assert settled(0.002) == 1
    assert settled(0.0, WORK_S) == 1


def test_a_slow_disk_gets_much_at_once() -> None:
    """And goes on to, once the work in it takes as long as some of the waiting."""
    assert settled(0.34) == MOST
    assert settled(1.5) == MOST


def test_a_disk_that_becomes_well_gets_little_again() -> None:
    """A burst of somebody else's writes is over at some time."""
    times = MOST
    for _ in range(5):
        times = next_size(times, times * WORK_S, 0.002)
    assert times == 1


@given(st.floats(0, 60), st.floats(0, 60))
def test_no_transaction_is_made_long_by_its_size(wait_s: float, per_thousand_s: float) -> None:
    """Where a disk needs time for each key, a rebalance waits for no more than twice the bound, or for the least."""
    times = settled(wait_s, per_thousand_s)
    assert 1 <= times <= MOST
    assert times == 1 or times * (WORK_S + per_thousand_s) + wait_s <= 2 * LONGEST_S
