"""What happened to a subscription is asked in the order in which it happened."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.transform.profile import Lapse
from pipeline.transform.state.turns import MAX_TURNS, end_of, lapse_before, merged, read_as, status_of

HELD, ANSWERED = [[10, "on_hold"]], [[10, "on_hold"], [20, "active"], [20, "answered"]]


@pytest.mark.parametrize(
    ("turns", "at_ms", "lapse"),
    [
        ([], 20, None),
        ([[10, "active"]], 20, None),
        (HELD, 10, None),
        (HELD, 9, None),
        (HELD, 11, Lapse("on_hold", answered=False)),
        ([[10, "active"], [10, "on_hold"]], 11, Lapse("on_hold", answered=False)),
        (ANSWERED, 30, Lapse("on_hold", answered=True)),
        (ANSWERED, 15, Lapse("on_hold", answered=True)),
        ([*ANSWERED, [40, "on_hold"]], 50, Lapse("on_hold", answered=False)),
        ([*HELD, [40, "past_due"], [50, "active"], [50, "answered"]], 30, Lapse("on_hold", answered=True)),
        ([*HELD, [20, "active"], [40, "past_due"], [50, "answered"]], 30, Lapse("on_hold", answered=False)),
        ([[10, "past_due"], [20, "on_hold"], [50, "answered"]], 15, Lapse("past_due", answered=True)),
        ([[10, "paused"], [20, "unpaused"]], 30, Lapse("paused", answered=True)),
        ([[10, "paused"], [20, "active"]], 30, Lapse("paused", answered=False)),
    ],
)
def test_a_lapse_is_answered_once(turns: list[Any], at_ms: int, lapse: Lapse | None) -> None:
    """By what was said after it and before another one began; one lapse may pass through two statuses."""
    assert lapse_before(turns, at_ms) == lapse
    assert lapse_before(turns[::-1], at_ms) == lapse


@pytest.mark.parametrize(
    ("turns", "read", "at_ms", "holds"),
    [
        ([], "on_hold", 5, "on_hold"),
        ([[10, "cancelled"]], "active", 20, "cancelled"),
        ([[10, "cancelled"]], "active", 5, "cancelled"),
        ([[10, "cancelled"], [10, "active"]], "active", 10, "cancelled"),
        ([[10, "cancelled"], [11, "active"]], "active", 11, "active"),
        ([[10, "cancelled"], [11, "active"]], "cancelled", 10, "active"),
        ([[10, "cancelled"]], "expired", 20, "expired"),
        (ANSWERED, "on_hold", 10, "active"),
        (ANSWERED, "on_hold", 20, "on_hold"),
        (ANSWERED, "on_hold", 25, "on_hold"),
        ([[10, "active"], [20, "on_hold"]], "active", 10, "on_hold"),
        ([[10, "active"], [20, "on_hold"]], "active", 15, "active"),
        ([[10, "paused"], [20, "unpaused"]], "paused", 10, "active"),
    ],
)
def test_what_happened_since_holds(turns: list[Any], read: str, at_ms: int, holds: str) -> None:
    """An end stays, a body that may be of then undoes nothing later, and one that is of now is the news."""
    assert status_of(turns, read, at_ms) == holds


def test_an_end_is_the_last_of_its_moment() -> None:
    """Only an activation of a later time takes it back."""
    assert end_of([[10, "cancelled", "2026"], [10, "active"]]) == [10, "cancelled", "2026"]
    assert end_of([[10, "cancelled"], [11, "unpaused"]]) is None
    assert end_of([[10, "active"]]) is None


def test_turns_do_not_pile_up() -> None:
    """The latest are kept, each once."""
    turns = [[ms, "on_hold"] for ms in range(40)]
    assert merged(turns[20:], turns[:30], turns[25:]) == turns[-MAX_TURNS:]


def test_what_was_only_read_is_a_turn_too() -> None:
    """Of a state that an earlier version wrote: the lapse by its event, the end by its reading."""
    assert read_as("on_hold", 9000, 5) == [[5, "on_hold"]]
    assert read_as("cancelled", 9000, 5) == [[9000, "cancelled"]]
    assert read_as("active", 9000, 5) == []
