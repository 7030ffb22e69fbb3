"""The demo's proof: a difference of one is shown, whatever it is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.demo.reconcile import Expected, Seen, count_order_violations, percentile, reconcile


def _expected() -> Expected:
    return Expected(
        sent=10,
        forged=2,
        unreadable=1,
        operations=12,
        event_ids=Counter({"A": 2, "B": 1}),
        dead_letters=Counter({"unreadable": 1}),
        payments={"JPY": (1, 4980)},
        spent={"ann": {"JPY": 4980}},
    )


def _seen() -> Seen:
    return Seen(
        answers=Counter({200: 8, 401: 2}),
        webhook_records=7,
        operation_records=12,
        dead_letters=Counter({"unreadable": 1}),
        accepted_operations=12,
        absorbed=1,
        event_ids=Counter({"A": 1, "B": 1}),
        payments={"JPY": (1, 4980)},
        spent={"ann": {"JPY": 4980}},
        lag=0,
    )


def test_equal_counts_reconcile() -> None:
    """When every place holds what the shop knows, every row is right."""
    assert all(check.ok for check in reconcile(_expected(), _seen()))


def _lose_answer(seen: Seen) -> None:
    seen.answers[200] -= 1


def _lose_event(seen: Seen) -> None:
    del seen.event_ids["B"]


def _swap_event(seen: Seen) -> None:
    seen.event_ids = Counter({"A": 1, "C": 1})


def _unknown_lag(seen: Seen) -> None:
    seen.lag = None


def _wrong_by_100(seen: Seen) -> None:
    seen.payments = {"JPY": (1, 498_000)}


def _other_currency(seen: Seen) -> None:
    seen.payments = {"USD": (1, 4980)}


def _new_class(seen: Seen) -> None:
    seen.dead_letters["refused"] = 1


def _double(seen: Seen) -> None:
    seen.absorbed = 0


def _wrong_total(seen: Seen) -> None:
    seen.spent = {"ann": {"JPY": 9960}}


@pytest.mark.parametrize(
    "fault",
    [
        _lose_answer,
        _lose_event,
        _swap_event,
        _unknown_lag,
        _wrong_by_100,
        _other_currency,
        _new_class,
        _double,
        _wrong_total,
    ],
)
def test_one_difference_is_shown(fault: Callable[[Seen], None]) -> None:
    """A lost, doubled, unknown or wrongly scaled thing makes at least one row wrong."""
    seen = _seen()
    fault(seen)
    assert not all(check.ok for check in reconcile(_expected(), seen))


def test_order_is_per_customer() -> None:
    """Customers may overtake each other; a customer's own events may not."""
    sent = {"ann": ["w1", "w2", "w3"], "bob": ["w4", "w5"]}
    fine = [("bob", "w5"), ("ann", "w1"), ("ann", "w3")]
    assert count_order_violations(sent, fine) == 0
    assert count_order_violations(sent, [("ann", "w2"), ("ann", "w1"), ("ann", "w3")]) == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_percentile_covers_its_share(values: list[float], share: float) -> None:
    """At least the asked share of values does not exceed the percentile, and it is one of the values."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_percentile_of_nothing_is_unknown() -> None:
    """No values have no percentile, not zero."""
    assert percentile([], 0.5) is None
