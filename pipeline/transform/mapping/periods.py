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


AS_PLANNED_MS: Final = 3_600_000
"""How far from its days a trial may end without having been moved: real ends lay seconds off, and whoever moves one
does so by days."""

DECISIVE: Final = frozenset({"new", "renewal", "on_demand"})
"""Charge types that show whether a period is the first; a plan change may be charged in any."""


def tolerance_ms(data: Mapping[str, Any]) -> int:
    """How far from its due moment a billing date may lie: at most a day, half an interval, half a trial."""
    interval, count = text(data.get("payment_frequency_interval")), whole(data.get("payment_frequency_count"))
    return tolerance_of(interval, count, whole(data.get("trial_period_days")))


def tolerance_of(interval: str | None, count: int | None, trial_days: int | None) -> int:
    """The same of a plan: the unit of its intervals, how many of them are a period, and the days of its trial."""
    half_days = [1.0]
    period = _period_days(interval, count)
    if period is not None:
        half_days.append(period / 2)
    if trial_days is not None and trial_days > 0:
        # A trial of one day is a first period of one day, whatever the plan's interval is.
        half_days.append(trial_days / 2)
    return int(min(half_days) * DAY_MS)


def _period_days(interval: str | None, count: int | None) -> int | None:
    """How many days a period of the plan has at least; None when that is not known."""
    days = INTERVAL_DAYS.get((interval or "").lower().removesuffix("s"))
    return days * (count or 1) if days is not None and (count is None or count > 0) else None


def is_opening(charge_type: str | None, at_ms: int, created_ms: int, tolerance: int) -> bool:
    """Whether a charge opened its subscription; one whose type is not known did where it lies at the creation."""
    return charge_type == "new" or (charge_type is None and at_ms - created_ms <= tolerance)


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


def moved_trial_ms(data: Mapping[str, Any]) -> int | None:
    """The end of a trial that a body of the first period shows, where it is another one than its days make.

    It may be over when the body is read: a charge that fails at the end moves no date. On demand, dates show nothing.
    """
    days = whole(data.get("trial_period_days"))
    if days is None or days <= 0 or flag(data.get("on_demand")) is True or not in_first_period(data):
        return None  # most subscriptions, without a look at their dates
    created, ends_ms = to_ms(data.get("created_at")), to_ms(data.get("next_billing_date"))
    if created is None or ends_ms is None:
        return None
    planned = min(created + days * DAY_MS, MAX_PLAUSIBLE_MS)
    return ends_ms if abs(ends_ms - planned) > AS_PLANNED_MS else None


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

    The payment shows it where it is known; else the dates do, and a first activation that came days after the creation,
    where it is known by then. On-demand subscriptions are charged at any time, so their dates show nothing: only a
    payment known as `new` does.
    """
    on_demand = flag(case.data.get("on_demand")) is True
    if case.history is not None and text(case.data.get("subscription_id")) is None:
        return False
    payment = payment_of(case)
    if payment is not None and payment.charge_type in DECISIVE:
        return payment.charge_type == "new"
    if on_demand:
        return False
    if at_creation(case.data, case.occurred_ms):
        return True
    # A plan change is charged in any period, and activates as well.
    return (payment is None or payment.charge_type is None) and _at_late_activation(case)


def _at_late_activation(case: Case) -> bool:
    """Whether the charge is that of the first activation, which came days after the creation, as a bank debit's does.

    A recovery activates as well, and may be the first activation that is known; but it follows a charge that was due, a
    period after the creation at the earliest: what counts is in the first half of one. Trials are left out: what is
    charged at their end is the conversion.
    """
    data = case.data
    subscription_id, created = text(data.get("subscription_id")), to_ms(data.get("created_at"))
    interval, count = text(data.get("payment_frequency_interval")), whole(data.get("payment_frequency_count"))
    period = _period_days(interval, count)
    if case.history is None or subscription_id is None or created is None or period is None:
        return False
    first = case.history.first_activation(subscription_id)
    if first is None or (whole(data.get("trial_period_days")) or 0) > 0:
        return False
    tolerance, half_ms = tolerance_ms(data), period * DAY_MS // 2
    moments = (to_ms(data.get("previous_billing_date")), case.occurred_ms)
    return any(
        moment is not None and abs(moment - first.at_ms) <= tolerance and moment - created < half_ms
        for moment in moments
    )
