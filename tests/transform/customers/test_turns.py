"""What happened to a subscription is asked in the order in which it happened."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.customers.turns import (
    MAX_TURNS,
    SIGHT_MS,
    WORDS,
    answer,
    end_of,
    is_silent,
    lapsed_before,
    merged,
    read_as,
    recoveries,
    silence,
    status_of,
)
from pipeline.transform.profile import Recovery

HELD, ANSWERED = [[10, "on_hold"]], [[10, "on_hold"], [20, "active"], [20, "answered"]]


DELIVERED = 1_000
"""When the webhook that is asked about was delivered."""


@pytest.mark.parametrize(
    ("turns", "own", "over"),
    [
        ([], [], []),
        ([[10, "active"]], [], []),
        (HELD, [], []),
        ([[10, "active"], *HELD], [], []),
        ([*HELD, [20, "active"]], [], [Recovery(10, 20, 20)]),
        ([*HELD, [20, "active"], [30, "active"]], [], [Recovery(10, 20, 20)]),
        (ANSWERED, [], []),
        ([*HELD, [20, "active"], [20, "answered", 10]], [], []),
        ([*ANSWERED, [40, "on_hold"]], [], []),
        ([*ANSWERED, [40, "on_hold"], [50, "active"]], [], [Recovery(40, 50, 50)]),
        ([*HELD, [40, "past_due"], [50, "active"], [50, "answered"]], [], []),
        ([*HELD, [40, "past_due"], [50, "active"], [50, "answered", 10]], [], []),
        ([*HELD, [20, "active"], [40, "past_due"], [50, "active"], [50, "answered"]], [], [Recovery(10, 20, 20)]),
        ([*HELD, [20, "active"], [40, "past_due"], [50, "active"], [50, "answered", 10]], [], [Recovery(40, 50, 50)]),
        ([[10, "past_due"], [20, "on_hold"], [50, "active"]], [], [Recovery(20, 50, 50)]),
        ([[10, "past_due"], [20, "on_hold"], [50, "answered"]], [], []),
        ([[20, "on_hold"], [50, "active"], [50, "answered", 10]], [], []),
        ([[5, "answered", 1], [20, "on_hold"], [50, "active"]], [], [Recovery(20, 50, 50)]),
        ([[10, "paused"], [20, "unpaused"]], [], []),
        ([[10, "paused"], [20, "active"]], [], [Recovery(10, 20, 20, of_pause=True)]),
        ([[10, "paused"], [20, "active"], [30, "unpaused"]], [], []),
        ([[10, "paused"], [20, "active"], [20, "answered", 10], [30, "unpaused"]], [], []),
        (
            [[5, "paused"], [7, "active"], [7, "answered", 5], [10, "paused"], [20, "unpaused"], silence(20)],
            [],
            [Recovery(10, 20, 20, of_pause=True)],
        ),
        ([[10, "paused"], [20, "seen"]], [], [Recovery(10, 20, DELIVERED, of_pause=True)]),
        ([*HELD, [20, "active"], [21, "unpaused"]], [], []),
        ([*HELD, [20, "paused"], [30, "active"]], [], [Recovery(20, 30, 30, of_pause=True)]),
        ([[10, "paused"], [20, "on_hold"], [30, "active"]], [], [Recovery(20, 30, 30)]),
        ([*HELD, [20, "seen"]], [], [Recovery(10, 20, DELIVERED)]),
        ([*HELD, [90, "seen"]], [[20, "seen"]], [Recovery(10, 20, DELIVERED)]),
        ([*HELD, [20, "active"], [15, "seen"]], [[15, "seen"]], [Recovery(10, 15, 20)]),
        ([*HELD, [20, "active"], [25, "seen"]], [[25, "seen"]], [Recovery(10, 20, 20)]),
        ([*HELD, [10, "seen"]], [], []),
        ([*HELD, [20, "seen"], [40, "past_due"]], [[20, "seen"]], []),
        ([*HELD, [10 + 9 * SIGHT_MS, "seen"]], [], [Recovery(10, 10 + SIGHT_MS, 10 + 9 * SIGHT_MS)]),
        ([*HELD, [9 * SIGHT_MS, "seen"]], [[9 * SIGHT_MS, "seen"]], [Recovery(10, 9 * SIGHT_MS, 9 * SIGHT_MS)]),
        ([*HELD, [9 * SIGHT_MS, "read"]], [], [Recovery(10, 10 + SIGHT_MS, 9 * SIGHT_MS)]),
        ([*HELD, [20, "read"], [40, "past_due"], [50, "active"], [50, "answered", 40]], [], [Recovery(10, 20, 20)]),
    ],
)
def test_a_lapse_is_answered_once(turns: list[Any], own: list[Any], over: list[Recovery]) -> None:
    """By what was said of it, or is known to have happened after it; one lapse may pass through two statuses."""
    assert recoveries(turns, own, DELIVERED) == over
    assert recoveries(turns[::-1], own, DELIVERED) == over
    assert recoveries(merged(turns, map(answer, over)), own, DELIVERED) == []


PAUSED = [[10, "paused"], [20, "active"], [20, "answered", 10]]


@pytest.mark.parametrize(
    ("turns", "silent"),
    [
        ([], False),
        ([[10, "paused"]], False),
        ([[10, "paused"], [20, "active"]], False),
        (PAUSED, True),
        ([*PAUSED, silence(30)], True),
        ([silence(30)], True),
        ([*PAUSED, silence(25), [25, "unpaused"]], False),
        ([*PAUSED, [25, "paused"]], False),
        ([*PAUSED, [40, "paused"]], True),
        ([[10, "paused"], [15, "on_hold"], [20, "active"], [20, "answered", 15]], True),
        (ANSWERED, False),
    ],
)
def test_a_pause_that_was_answered_is_not_told_again(turns: list[Any], *, silent: bool) -> None:
    """The webhook of its end asks; one that ends another pause, or one that is still on its way, tells it."""
    assert is_silent([*turns, [30, "unpaused"]], 30) == silent
    assert is_silent([*turns, [30, "unpaused"]][::-1], 30) == silent


@pytest.mark.parametrize("shown", ["active", "read"])
def test_each_pause_is_answered_once(shown: str) -> None:
    """Two pauses, what shows them over and the webhooks of their ends, in any order; nothing when all come again."""
    happened = [(10, "paused"), (20, shown), (21, "unpaused"), (30, "paused"), (40, shown), (41, "unpaused")]
    for order in permutations(happened):
        again = Random(str(order)).sample(order, len(order))
        known: list[Any] = []
        told, by_their_own = 0, set[int]()
        for at_ms, word in (*order, *again):
            known = merged(known, [[at_ms, word]])
            if word == "unpaused" and is_silent(known, at_ms):
                known = merged(known, [silence(at_ms)])
            elif word == "unpaused":
                by_their_own.add(at_ms)
            over = recoveries(known, [], 0)
            assert all(recovery.of_pause for recovery in over)
            told += len(over)
            known = merged(known, map(answer, over))
        assert told + len(by_their_own) == 2, order


def test_a_lapse_lies_before_what_comes_later() -> None:
    """At its own moment it does not yet."""
    assert [lapsed_before(HELD, at_ms) for at_ms in (9, 10, 11)] == [False, False, True]


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
        ([[10, "on_hold"], [20, "seen"]], "on_hold", 10, "active"),
        ([[10, "on_hold"], [20, "seen"]], "on_hold", 15, "on_hold"),
        ([[10, "seen"], [20, "on_hold"]], "active", 10, "active"),
        ([[10, "cancelled"], [20, "seen"]], "active", 20, "cancelled"),
        ([[10, "cancelled"], [20, "read"]], "active", 20, "active"),
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
    sights = [[ms, "seen"] for ms in range(9)]
    assert merged(sights, turns) == [sights[-1], *turns[-MAX_TURNS:]]


_TURN = st.tuples(st.integers(0, 30), st.sampled_from(sorted(WORDS))).map(list)


@given(st.lists(st.lists(_TURN, max_size=12), min_size=3, max_size=3), st.permutations(range(3)))
def test_turns_are_merged_in_any_order(told: list[list[Any]], order: list[int]) -> None:
    """All at once, or one telling after the other, in any order and again."""
    together = merged(*told)
    kept: list[Any] = []
    for place in (*order, *order):
        kept = merged(kept, told[place])
    assert kept == together


def test_what_was_only_read_is_a_turn_too() -> None:
    """Of a state that an earlier version wrote: the lapse by its event, the end by its reading."""
    assert read_as("on_hold", 9000, 5) == [[5, "on_hold"]]
    assert read_as("cancelled", 9000, 5) == [[9000, "cancelled"]]
    assert read_as("active", 9000, 5) == []
