"""What a subscription's event carries: one common set for every type, and what the single event adds."""

from __future__ import annotations

import re
from typing import Final

from pipeline.transform.fields import flag, members, text, whole
from pipeline.transform.mapping import trials
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_payment_amount
from pipeline.transform.mapping.periods import payment_of
from pipeline.transform.mapping.rows import Row
from pipeline.transform.money import minor_of
from pipeline.transform.profile import ENDED, Payment
from pipeline.transform.timestamps import MAX_PLAUSIBLE_MS, iso

UNKNOWN_ACTOR: Final = "system_or_unknown"
ENDINGS: Final = frozenset({f"subscription_{status}" for status in ENDED})
"""Events after which there is no next billing."""

_ACTOR = re.compile(r"[a-z][a-z_]{0,39}")
"""The form of an `actor_type`; anything else could be a person's name or address."""


def attributes(case: Case, row: Row, into: Attributes) -> None:
    """One common set for every type, and what the single event adds."""
    data = case.data
    currency = _plan(case, into)
    if not _has_ended(case, row):
        case.date(into, "next_billing", data.get("next_billing_date"))
    _trial(case, into, currency)
    for name in ("on_demand", "has_payment_method"):
        if (value := flag(data.get(name))) is not None:
            into[name] = value
    _end(case, row, into)
    scheduled = members(data.get("scheduled_change"))
    if (product_id := text(scheduled.get("product_id"))) is not None:
        into["scheduled_product_id"] = product_id
        scheduled_name = case.policy.product_names.get(product_id) or text(scheduled.get("product_name"))
        if scheduled_name is not None:
            into["scheduled_product_name"] = scheduled_name
        case.date(into, "scheduled_change_at", scheduled.get("effective_at"))
    case.texts(into, "customer_business_name")
    match row.event:
        case "subscription_cancellation_scheduled":
            case.date(into, "ends_at", data.get("next_billing_date"))
        case "subscription_renewed":
            _renewal(case, into)
        case "subscription_plan_changed":
            _plan_change(case, into, currency)


def _has_ended(case: Case, row: Row) -> bool:
    """Whether nothing is billed any more: the body's next billing date then lies ahead all the same."""
    status = text(case.data.get("status"))
    return row.event in ENDINGS or (status is not None and status.lower() in ENDED)


def _plan(case: Case, into: Attributes) -> str | None:
    data = case.data
    case.texts(into, "subscription_id", "product_id")
    name = case.policy.product_names.get(into.get("product_id", ""))
    if name is not None:
        into["product_name"] = name
    if (quantity := whole(data.get("quantity"))) is not None:
        into["quantity"] = quantity
    if addons := case.quantities("addons", "addon_id"):
        into["addons"] = addons
    currency = case.currency(into)
    case.main_money(into, "amount", data.get("recurring_pre_tax_amount"), currency)
    if (inclusive := flag(data.get("tax_inclusive"))) is not None:
        into["tax_inclusive"] = inclusive
    if (frequency := text(data.get("payment_frequency_interval"))) is not None:
        into["frequency"] = frequency
    if (count := whole(data.get("payment_frequency_count"))) is not None:
        into["frequency_count"] = count
    return currency


def _trial(case: Case, into: Attributes, currency: str | None) -> None:
    """Dodo has no "in trial" field: a trial lasts until its first billing, or the first charge before it."""
    days = whole(case.data.get("trial_period_days"))
    if days is not None:
        into["trial_period_days"] = days
        end_ms = trials.end_ms(case)
        in_trial = end_ms is not None and case.event_ms < end_ms
        into["is_trial"] = in_trial
        if in_trial and end_ms is not None and end_ms < MAX_PLAUSIBLE_MS:
            into["trial_ends_at"] = iso(end_ms)
            into["trial_ends_at_unix"] = end_ms // 1000
    case.money(into, "trial_amount", case.data.get("trial_amount"), currency)


def _end(case: Case, row: Row, into: Attributes) -> None:
    data = case.data
    case.date(into, "cancelled_at", data.get("cancelled_at"))
    scheduled = flag(data.get("cancel_at_next_billing_date"))
    if scheduled is not None:
        into["cancel_at_next_billing"] = scheduled
    actor = _actor(data.get("cancelled_by"))
    if actor is None and (scheduled or row.event == "subscription_cancelled" or "cancelled_at" in into):
        actor = UNKNOWN_ACTOR
    if actor is not None:
        into["cancelled_by"] = actor
    case.texts(into, "cancellation_feedback")
    for name in ("paused_at", "past_due_ends_at", "expires_at"):
        case.date(into, name, data.get(name))


def _actor(cancelled_by: object) -> str | None:
    """Who cancelled, as a kind: `cancelled_by` also holds the staff member's name and e-mail."""
    kind = members(cancelled_by).get("actor_type") if type(cancelled_by) is dict else cancelled_by
    kind = text(kind)
    return kind if kind is not None and _ACTOR.fullmatch(kind) else None


def _renewal(case: Case, into: Attributes) -> None:
    if trials.renewal_converts(case):
        into["is_trial_conversion"] = True
    payment_id = text(case.data.get("payment_id"))
    if payment_id is not None:
        into["payment_id"] = payment_id
        payment = case.history.payment(payment_id) if case.history is not None else None
    else:
        payment = _period_s_renewal(case)
    if payment is not None:
        put_payment_amount(case, into, payment.minor, payment.currency)


def _period_s_renewal(case: Case) -> Payment | None:
    """The charge of a renewal that names none; on demand, a period may have many."""
    payment = None if flag(case.data.get("on_demand")) is True else payment_of(case)
    return payment if payment is not None and payment.charge_type == "renewal" else None


def _plan_change(case: Case, into: Attributes, currency: str | None) -> None:
    subscription_id = into.get("subscription_id")
    before = case.history.before(subscription_id) if case.history is not None and subscription_id is not None else None
    if before is None:
        return
    if before.product_id is not None:
        into["previous_product_id"] = before.product_id
        if (name := case.policy.product_names.get(before.product_id)) is not None:
            into["previous_product_name"] = name
    if before.minor is None:
        return
    if before.currency == currency:  # the event has one currency, and a price in another would be read as in it
        case.money(into, "previous_amount", before.minor, before.currency)
    now = minor_of(case.data.get("recurring_pre_tax_amount"))
    same_terms = before.currency is not None and (before.currency, before.interval, before.interval_count) == (
        currency,
        text(case.data.get("payment_frequency_interval")),
        whole(case.data.get("payment_frequency_count")),
    )
    if now is not None and same_terms:
        into["direction"] = "same_price" if now == before.minor else "upgrade" if now > before.minor else "downgrade"
