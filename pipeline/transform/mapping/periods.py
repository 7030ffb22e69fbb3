"""Billing periods: is this the first one?

Dodo has no field for it. `previous_billing_date` starts at `created_at` and moves at each renewal, so the two are
near each other in the first period alone. How near: a real first period was 27 s off, a daily plan's second is one day
off, so the tolerance is one day but never more than half of what a period can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.transform.fields import flag, text, whole
from pipeline.transform.mapping.case import Case
from pipeline.transform.profile import Payment
from pipeline.transform.timestamps import DAY_MS, MAX_PLAUSIBLE_MS, to_ms

INTERVAL_DAYS: Final = {"day": 1, "week": 7, "month": 30, "year": 365}
"""Shortest-case lengths; only ever halved and compared with one day."""


DECISIVE: Final = frozenset({"new", "renewal", "on_demand"})
"""Charge types that show whether a period is the first; a plan change may be charged in any."""


def tolerance_ms(data: Mapping[str, Any]) -> int:
    """How far from its due moment a billing date may lie: at most a day, half an interval, half a trial."""
    half_days = [1.0]
    days = INTERVAL_DAYS.get((text(data.get("payment_frequency_interval")) or "").lower().removesuffix("s"))
    count = whole(data.get("payment_frequency_count"))
    if days is not None and (count is None or count > 0):
        half_days.append(days * (count or 1) / 2)
    trial_days = whole(data.get("trial_period_days"))
    if trial_days is not None and trial_days > 0:
        # A trial of one day is a first period of one day, whatever the plan's interval is.
        half_days.append(trial_days / 2)
    return int(min(half_days) * DAY_MS)


def in_first_period(data: Mapping[str, Any]) -> bool | None:
    """Whether `previous_billing_date` lies at `created_at`; None when either is unreadable."""
    previous, created = to_ms(data.get("previous_billing_date")), to_ms(data.get("created_at"))
    if previous is None or created is None:
        return None
    return abs(previous - created) <= tolerance_ms(data)


def trial_end_ms(data: Mapping[str, Any]) -> int | None:
    """When the free trial was to end by the dates; None without a trial. During it, the next billing is its end."""
    days = whole(data.get("trial_period_days"))
    if days is None or days <= 0:
        return None
    if in_first_period(data):
        next_ms = to_ms(data.get("next_billing_date"))
        if next_ms is not None:
            return next_ms
    created = to_ms(data.get("created_at"))
    # Of any size it would be no number that JSON holds, and the subscription's fact could not be kept.
    return None if created is None else min(created + days * DAY_MS, MAX_PLAUSIBLE_MS)


def seen_trial_ms(data: Mapping[str, Any], read_ms: int) -> int | None:
    """When the free trial ends in which a body shows the subscription that was read then; None outside one.

    A charge that fails at the trial's end moves no date: what is on hold since then has no trial any more.
    """
    ends_ms = trial_end_ms(data) if in_first_period(data) else None
    return ends_ms if ends_ms is not None and read_ms < ends_ms else None


def at_creation(data: Mapping[str, Any], occurred_ms: int | None) -> bool:
    """Whether the event belongs to the subscription's beginning: its billing date lies at `created_at`, or itself does.

    The body is read at the delivery, and a late retry shows a later period; the event's time stays what it was.
    """
    created = to_ms(data.get("created_at"))
    near = created is not None and occurred_ms is not None and abs(occurred_ms - created) <= tolerance_ms(data)
    return near or in_first_period(data) is True


def payment_of(case: Case) -> Payment | None:
    """The payment that a `subscription.renewed` is about, if the state knows it: the body's own, else its period's."""
    data, history = case.data, case.history
    subscription_id, payment_id = text(data.get("subscription_id")), text(data.get("payment_id"))
    if history is None or subscription_id is None:
        return None
    payment = history.payment(payment_id) if payment_id is not None else None
    if payment is not None:
        return payment
    # On demand, many charges have one period: where the body names its own, the first one's does not count.
    starts = to_ms(data.get("previous_billing_date"))
    if starts is None or (payment_id is not None and flag(data.get("on_demand")) is True):
        return None
    return history.payment_of_period(subscription_id, starts, tolerance_ms(data))


def is_first_renewal(case: Case) -> bool:
    """Whether a `subscription.renewed` is the first charge, which `subscription_started` already shows.

    The payment shows it where it is known; else the dates do, whatever else has come, so that no order of arrival makes
    a renewal of a first charge. On-demand subscriptions are charged at any time, so their dates show nothing: only a
    payment known as `new` does.
    """
    on_demand = flag(case.data.get("on_demand")) is True
    if case.history is not None and text(case.data.get("subscription_id")) is None:
        return False
    payment = payment_of(case)
    if payment is not None and payment.charge_type in DECISIVE:
        return payment.charge_type == "new"
    return not on_demand and at_creation(case.data, case.occurred_ms)
