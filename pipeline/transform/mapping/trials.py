"""Trials: recognised by charges, since Dodo has no field for "in trial".

A trial is a first period of nothing (or of `trial_amount`). It ends with the first charge of more than nothing after
the one that opened it, whatever the calendar shows: an upgrade inside it may be charged at once, and a renewal after it
may be free by a coupon. Where the state does not know the charges, the body's dates and discounts decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from pipeline.transform.fields import elements, members, text, whole
from pipeline.transform.mapping.case import Case
from pipeline.transform.mapping.periods import in_first_period, is_opening, payment_of, tolerance_ms, trial_end_ms
from pipeline.transform.profile import Charge, Course
from pipeline.transform.timestamps import DAY_MS, to_ms

WHOLE: Final = 10_000
"""Basis points of a discount that leaves nothing to pay."""

CUTTING_SHORT: Final = frozenset({"plan_change", "renewal"})
"""Types of a charge that ends a trial before its time."""


def _days(data: dict[str, Any]) -> int:
    return max(0, whole(data.get("trial_period_days")) or 0)


def end_ms(case: Case) -> int | None:
    """When the trial ends or ended; None without one."""
    data = case.data
    planned, created = trial_end_ms(data), to_ms(data.get("created_at"))
    if planned is None or created is None:
        return planned
    ends = [planned]
    if in_first_period(data) is False and (previous := to_ms(data.get("previous_billing_date"))) is not None:
        ends.append(previous)  # another period has begun
    subscription_id = text(data.get("subscription_id"))
    if case.history is not None and subscription_id is not None:
        paid = case.history.course(subscription_id).paid
        ends += [charge.at_ms for charge in _after_opening(paid, created, tolerance_ms(data))]
    return min(ends)


def _after_opening(charges: Iterable[Charge], created_ms: int, tolerance: int) -> list[Charge]:
    """The charges but for what opened the subscription: a fee for the trial is no conversion."""
    return [charge for charge in charges if not is_opening(charge.charge_type, charge.at_ms, created_ms, tolerance)]


def renewal_converts(case: Case) -> bool:
    """Whether a `subscription.renewed` is the first charge of more than nothing after a trial."""
    data, days, created = case.data, _days(case.data), to_ms(case.data.get("created_at"))
    if not days or created is None:
        return False
    tolerance, subscription_id = tolerance_ms(data), text(data.get("subscription_id"))
    course = Course() if case.history is None or subscription_id is None else case.history.course(subscription_id)
    ends = (created + days * DAY_MS, *course.moved)
    starts = to_ms(data.get("previous_billing_date"))
    # The time of the event stands in for a body that shows a later period by now.
    at_end = any(ms is not None and _is_at(ms, ends, tolerance) for ms in (starts, case.occurred_ms))
    if case.history is None or subscription_id is None:
        return at_end and not _may_be_free(data)
    paid = _after_opening(course.paid, created, tolerance)
    was_free = _began_free(course, ends, tolerance)
    payment = payment_of(case)
    if payment is not None:
        if payment.minor <= 0 or payment.charge_type == "new" or (paid and paid[0].payment_id != payment.payment_id):
            return False
        return (
            at_end
            or was_free
            or _inside(paid[:1], ends, tolerance)
            or _fell_due(course, ends, tolerance, case.event_ms)
        )
    if any(charge.at_ms < case.event_ms for charge in paid) or _may_be_free(data):
        return False
    inside = starts is not None and created + tolerance < starts < ends[-1] - tolerance
    return at_end or was_free or inside or _fell_due(course, ends, tolerance, case.event_ms)


def charge_converts(case: Case, subscription_ids: Iterable[str]) -> bool:
    """Whether a payment is the first charge of more than nothing after a trial of one of these subscriptions."""
    payment_id, history = text(case.data.get("payment_id")), case.history
    if history is None or payment_id is None or text(case.data.get("charge_type")) == "new":
        return False  # without a look at the state: most payments
    converted = (conversion_of(history.course(subscription_id)) for subscription_id in subscription_ids)
    return any(charge is not None and charge.payment_id == payment_id for charge in converted)


def conversion_of(course: Course) -> Charge | None:
    """The first known charge of more than nothing after the trial; what opened it is none."""
    if not course.trial_days or not course.created_at_ms:
        return None
    tolerance, ends = _tolerance(course), (course.created_at_ms + course.trial_days * DAY_MS, *course.moved)
    first = _after_opening(course.paid, course.created_at_ms, tolerance)[:1]
    at_end = any(_is_at(charge.at_ms, ends, tolerance) for charge in first)
    converts = at_end or _began_free(course, ends, tolerance) or _inside(first, ends, tolerance)
    return first[0] if first and (converts or _fell_due(course, ends, tolerance, first[0].at_ms)) else None


def _tolerance(course: Course) -> int:
    return min(DAY_MS, course.trial_days * DAY_MS // 2)


def _is_at(ms: int, ends: Collection[int], tolerance: int) -> bool:
    """Whether that is when the trial ended: by its days, or by an end that it was moved to."""
    return any(abs(ms - ends_ms) <= tolerance for ends_ms in ends)


def _began_free(course: Course, ends: Collection[int], tolerance: int) -> bool:
    """Whether the first charge after the trial is known to have been of nothing: the conversion is still to come.

    A subscription that converted before charges were remembered has none that is known so early.
    """
    free = _after_opening(course.free, course.created_at_ms, tolerance)
    return any(_is_at(charge.at_ms, ends, tolerance) for charge in free)


def _fell_due(course: Course, ends: Collection[int], tolerance: int, at_ms: int) -> bool:
    """Whether the charge at the trial's end is known to have failed: one that is made later is the conversion."""
    return any(_is_at(ms, ends, tolerance) and ms < at_ms for ms in course.lapses)


def _inside(first: list[Charge], ends: Sequence[int], tolerance: int) -> bool:
    """Whether it was charged before the trial's end, as that was seen last: for another plan, or to end it at once."""
    return any(charge.charge_type in CUTTING_SHORT and charge.at_ms < ends[-1] + tolerance for charge in first)


def _may_be_free(data: dict[str, Any]) -> bool:
    """Whether the body shows a discount of the whole price, whose last cycle may have been this one."""
    return any(
        text(discount.get("type")) == "percentage" and (whole(discount.get("amount")) or 0) >= WHOLE
        for discount in map(members, elements(data.get("discounts")))
    )
