"""Demand: who wants more, and who has something to spare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.demand import COOL_S, HISTORY_S, HOLD_S, RESERVE, Demand, Usage

IDLE = Usage(0, 0.0)
TICK_S = 0.25


def demand_of(*usages: Usage, own: float = 25.0, lends: bool = False) -> Demand:
    """A demand after these were seen, one a tick."""
    demand = Demand()
    demand.restart(0.0)
    for number, usage in enumerate(usages, 1):
        demand.observe(number * TICK_S, usage, own, lends=lends)
    return demand


@pytest.mark.parametrize(
    ("usage", "own", "wants"),
    [
        (Usage(25, 0.1), 25.0, True),
        (Usage(23, 0.001), 25.0, True),
        (Usage(25, 0.0), 25.0, False),
        (Usage(8, 0.2), 25.0, False),
        (Usage(0, 1.5), 0.25, True),
        (IDLE, 25.0, False),
    ],
    ids=["saturated", "just", "nobody waits", "a burst", "less than one a second", "idle"],
)
def test_wanting(usage: Usage, own: float, wants: bool) -> None:
    """More is wanted when the share is used and somebody waits, or has waited for long."""
    assert demand_of(usage, own=own).wants is wants


def test_a_demand_holds_for_a_moment() -> None:
    """Between two chunks nothing may wait; a second later it is over."""
    demand = demand_of(Usage(25, 0.1))
    demand.observe(TICK_S + HOLD_S - 0.01, IDLE, 25.0, lends=False)
    assert demand.wants
    demand.observe(TICK_S + HOLD_S, IDLE, 25.0, lends=False)
    assert not demand.wants


def test_who_borrowed_wants_on_while_it_uses_more_than_its_share() -> None:
    """With a large loan nobody waits any more, and the loan is needed all the same."""
    demand = demand_of(Usage(25, 0.1), *[Usage(60, 0.0)] * 40)
    assert demand.wants


def test_a_lender_asks_for_nothing() -> None:
    """What it waits for is its own, which comes back."""
    assert not demand_of(*[Usage(2, 3.0)] * 20, lends=True).wants


def quiet(usage: Usage = IDLE, *, for_s: float = 5.0) -> Demand:
    """A demand that has seen the same for a while."""
    return demand_of(*[usage] * int(for_s / TICK_S))


@pytest.mark.parametrize(
    ("sent", "kept"), [(0, 25 * RESERVE), (1, 2.0), (4, 8.0)], ids=["idle", "a request", "some requests"]
)
def test_sparing(sent: int, kept: float) -> None:
    """A quiet sink spares all but a reserve, and one with a little traffic keeps twice of what it needs."""
    usage = Usage(sent, 0.0)
    assert quiet(usage).spare(5.0, usage, 25.0) == pytest.approx(25.0 - kept)


def test_sparing_nothing() -> None:
    """Not what would be crumbs, and not while a sink wants, has just begun, or felt that it had lent too much."""
    assert quiet(Usage(11, 0.0)).spare(5.0, Usage(11, 0.0), 25.0) == 0
    assert quiet(Usage(25, 0.1)).spare(5.0, IDLE, 25.0) == 0
    assert quiet(for_s=HISTORY_S - TICK_S).spare(HISTORY_S - 0.01, IDLE, 25.0) == 0
    demand = quiet()
    demand.observe(5.1, Usage(0, 0.6), 25.0, lends=True)
    assert demand.spare(5.2, IDLE, 25.0) == 0
    assert demand.spare(5.1 + COOL_S, IDLE, 25.0) > 0


@given(
    seen=st.lists(st.builds(Usage, st.integers(0, 110), st.floats(0, 2)), max_size=30),
    now=st.builds(Usage, st.integers(0, 110), st.just(0.0)),
    share=st.floats(0.01, 100.0),
)
def test_what_just_left_is_never_spared(seen: list[Usage], now: Usage, share: float) -> None:
    """To a borrower that begins at once it is as if the lender had kept to the rest for a window already."""
    spare = demand_of(*seen, own=share).spare(100.0, now, share)
    assert 0.0 <= spare <= share * (1 - RESERVE) * (1 + 1e-12)  # the last digit is the rounding's
    assert spare == 0 or now.sent <= (share - spare) * (1 + 1e-12)
