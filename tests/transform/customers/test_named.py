"""The fields of facts by their names, of every version's array."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.transform.customers.facts import Fact, in_this_form
from pipeline.transform.customers.named import FlagSeen, PaymentFact, SubscriptionFact, SubscriptionPlan

NOW = [10, 11, "pdt_2", 4900, "USD", "Month", 1]
BEFORE = [1, 2, "pdt_1", 2900, "EUR", "Year", 3]
SUBSCRIPTION: Fact = [
    10, 11, "active", "2026-02-01T00:00:00Z", True, 12, [NOW, BEFORE], 13, "2026-01-02T00:00:00Z",
    [[11, "on_hold"]], 14,
]  # fmt: skip
PAYMENT: Fact = [
    4665, "USD", "2026-01-01T00:00:00Z", "new", "card", False, "webhook", [["sub_1", 5]], None, [[["pdt_1", 1]], []],
]  # fmt: skip


@pytest.mark.parametrize("length", [7, 9, 11])
def test_a_subscription_of_any_version(length: int) -> None:
    """Its names hold what the array of this version has in their order."""
    found = SubscriptionFact.of(SUBSCRIPTION[:length])
    assert [*found[:6], [list(plan) for plan in found.plans], *found[7:]] == in_this_form(SUBSCRIPTION[:length])
    assert (found.status, found.next_billing, found.cancels, found.created_ms) == tuple(SUBSCRIPTION[2:6])
    assert (found.plan.product_id, found.plan.price) == ("pdt_2", (4900, "USD", "Month", 1))
    assert found.plans[1].terms == tuple(BEFORE[2:])
    assert (found.trial_ends_ms, found.trial_days) == ((13 if length > 7 else None), (14 if length > 9 else 0))


def test_the_standing_follows_from_what_happened() -> None:
    """A body that says what its type says may be older than the lapse behind it."""
    turns = [[11, "active"], [12, "on_hold"]]
    assert SubscriptionFact.of([*SUBSCRIPTION[:9], turns, 0]).standing == "on_hold"


def test_a_payment_of_any_version() -> None:
    """An earlier one does not say what it was for."""
    found = PaymentFact.of(PAYMENT)
    assert (found.minor, found.source, found.goods) == (4665, "webhook", PAYMENT[9])
    assert found.periods == [["sub_1", 5]]
    assert PaymentFact.of(PAYMENT[:9]) == replace(found, goods=None)


def test_when_a_flag_was_seen() -> None:
    """At its event; what was read from the API at the reading."""
    assert FlagSeen(5, 4321, True, "msg_1").seen_ms == 4321
    assert FlagSeen(5, 0, True, "").seen_ms == 5000


def test_a_plan_without_its_moment() -> None:
    """Two readings of one plan have the same terms."""
    assert SubscriptionPlan(1, 2, *NOW[2:]).terms == SubscriptionPlan(*NOW).terms  # type: ignore[arg-type]
