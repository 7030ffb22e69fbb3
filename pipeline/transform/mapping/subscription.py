"""subscription.*: a plan's life, told once at each turn."""

from __future__ import annotations

import re
from typing import Final

from pipeline.transform.fields import flag, members, text, whole
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.periods import in_first_period, is_first_renewal, renews_after_trial, trial_end_ms
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status
from pipeline.transform.mapping.slot import fill_slot
from pipeline.transform.money import minor_of
from pipeline.transform.profile import BILLING, ENDED, Subscription
from pipeline.transform.timestamps import MAX_PLAUSIBLE_MS, iso, to_ms

KNOWN: Final = frozenset({"pending", "active", "on_hold", "paused", "cancelled", "failed", "expired", "past_due"})
"""`SubscriptionStatus` of the dodopayments SDK."""

RECOVERABLE: Final = frozenset({"on_hold", "past_due", "paused"})
LASTING: Final = KNOWN - ENDED

STATUS: Final = Status(
    field="status",
    attribute="subscription_status",
    agrees={
        "subscription.active": frozenset({"active"}),
        "subscription.renewed": frozenset({"active"}),
        "subscription.on_hold": frozenset({"on_hold"}),
        "subscription.past_due": frozenset({"past_due"}),
        "subscription.paused": frozenset({"paused"}),
        "subscription.unpaused": frozenset({"active"}),
        "subscription.cancelled": frozenset({"cancelled"}),
        "subscription.failed": frozenset({"failed"}),
        "subscription.expired": frozenset({"expired"}),
        "subscription.plan_changed": LASTING,
        "subscription.updated": LASTING,
        "subscription.update_payment_method": LASTING,
    },
    known=KNOWN,
)

UNKNOWN_ACTOR: Final = "system_or_unknown"
_ACTOR = re.compile(r"[a-z][a-z_]{0,39}")
"""The form of an `actor_type`; anything else could be a person's name or address."""


def _status(case: Case) -> str | None:
    status = text(case.data.get("status"))
    return None if status is None else status.lower()


def _is_start(case: Case) -> bool:
    in_first = in_first_period(case.data) is True
    subscription_id = text(case.data.get("subscription_id"))
    profile = case.profile
    if profile is None or subscription_id is None:
        return in_first
    first = profile.first_activation(subscription_id)
    earliest = first is None or first.webhook_id == case.delivery.webhook_id or case.event_ms <= first.at_ms
    created = to_ms(case.data.get("created_at"))
    before_state = created is None or created < profile.began_at_ms
    return earliest and (in_first or not before_state)


def _is_recovery(case: Case) -> bool:
    subscription_id = text(case.data.get("subscription_id"))
    if case.profile is None or subscription_id is None:
        return False
    before = case.profile.before(subscription_id)
    return before is not None and before.status in RECOVERABLE


def _has_state(case: Case) -> bool:
    return case.profile is not None


def _is_held_first_renewal(case: Case) -> bool:
    return not case.policy.emit_first_renewal and is_first_renewal(case)


def _is_scheduled(case: Case) -> bool:
    if flag(case.data.get("cancel_at_next_billing_date")) is not True or _status(case) not in BILLING:
        return False
    subscription_id = text(case.data.get("subscription_id"))
    if case.profile is None or subscription_id is None:
        return True
    return case.profile.cancellation_shown_by(subscription_id) in {None, case.delivery.webhook_id}


def _is_withdrawn(case: Case) -> bool:
    subscription_id = text(case.data.get("subscription_id"))
    if case.profile is None or subscription_id is None or _status(case) not in BILLING:
        return False
    withdrawn = flag(case.data.get("cancel_at_next_billing_date")) is False
    return withdrawn and case.profile.cancellation_shown_by(subscription_id) is not None


ACTIVATION: Final = (
    "whether this is the first activation, a recovery or a plan change is decided by the state; without it the billing "
    "dates alone"
)
RENEWAL: Final = "whether this is the first period's charge is decided by the state; without it the billing dates alone"
SCHEDULE: Final = (
    "whether a cancellation was scheduled already, or is withdrawn, is decided by the state; without it once a period"
)
SLOT: Final = (
    "which subscription speaks for the person is decided by the state; without it the body's own does, also where "
    "another one goes on"
)
PLAN: Final = "previous_product_id, previous_amount and direction come from the state"

ROWS: Final = (
    Row(
        "subscription.active",
        "subscription_started",
        Condition(
            "state: no earlier activation of this subscription, and for one older than the state "
            "`previous_billing_date` at `created_at`; stateless: `previous_billing_date` at `created_at`",
            _is_start,
        ),
        key=Key(("subscription_id",)),
        decides=ACTIVATION,
    ),
    Row(
        "subscription.active",
        "subscription_reactivated",
        Condition("state: else, last known status on_hold, past_due or paused", _is_recovery),
    ),
    Row("subscription.active", None, Condition("state: else (a plan change fires it too)", _has_state)),
    Row("subscription.active", "subscription_activated", decides=ACTIVATION),
    Row(
        "subscription.renewed",
        None,
        Condition(
            "first period (state: its payment is `new`, or at the first activation; stateless: "
            "`previous_billing_date` at `created_at`, never on-demand), unless `PIPELINE_EMIT_FIRST_RENEWAL`",
            _is_held_first_renewal,
        ),
        decides=RENEWAL,
    ),
    Row("subscription.renewed", "subscription_renewed", decides=RENEWAL),
    Row("subscription.on_hold", "subscription_on_hold"),
    Row("subscription.past_due", "subscription_past_due"),
    Row("subscription.paused", "subscription_paused"),
    Row("subscription.unpaused", "subscription_unpaused"),
    Row("subscription.cancelled", "subscription_cancelled"),
    Row("subscription.failed", "subscription_failed"),
    Row("subscription.expired", "subscription_expired"),
    Row("subscription.plan_changed", "subscription_plan_changed", decides=PLAN),
    Row(
        "subscription.updated",
        "subscription_cancellation_scheduled",
        Condition(
            "`cancel_at_next_billing_date`, `status` active, past_due or on_hold, not scheduled already", _is_scheduled
        ),
        key=Key(("subscription_id", "next_billing_date"), stateless=True),
        decides=SCHEDULE,
    ),
    Row(
        "subscription.updated",
        "subscription_cancellation_withdrawn",
        Condition("state: the flag is back to false while active, past_due or on_hold", _is_withdrawn),
    ),
    Row("subscription.updated", None, decides=SCHEDULE),
    Row("subscription.update_payment_method", "subscription_payment_method_updated"),
)


def attributes(case: Case, row: Row, into: Attributes) -> None:
    """One common set for every type, and what the single event adds."""
    data = case.data
    currency = _plan(case, into)
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
    case.money(into, "amount", data.get("recurring_pre_tax_amount"), currency)
    if (inclusive := flag(data.get("tax_inclusive"))) is not None:
        into["tax_inclusive"] = inclusive
    if (frequency := text(data.get("payment_frequency_interval"))) is not None:
        into["frequency"] = frequency
    if (count := whole(data.get("payment_frequency_count"))) is not None:
        into["frequency_count"] = count
    return currency


def _trial(case: Case, into: Attributes, currency: str | None) -> None:
    """Dodo has no "in trial" field: a trial lasts until its first billing."""
    days = whole(case.data.get("trial_period_days"))
    if days is not None:
        into["trial_period_days"] = days
        end_ms = trial_end_ms(case.data)
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
    if renews_after_trial(case.data):
        into["is_trial_conversion"] = True
    payment_id = text(case.data.get("payment_id"))
    if payment_id is None:
        return
    into["payment_id"] = payment_id
    payment = case.profile.payment(payment_id) if case.profile is not None else None
    if payment is not None:
        case.money(into, "payment_amount", payment.minor, payment.currency)


def _plan_change(case: Case, into: Attributes, currency: str | None) -> None:
    subscription_id = into.get("subscription_id")
    before = case.profile.before(subscription_id) if case.profile is not None and subscription_id is not None else None
    if before is None:
        return
    if before.product_id is not None:
        into["previous_product_id"] = before.product_id
        if (name := case.policy.product_names.get(before.product_id)) is not None:
            into["previous_product_name"] = name
    if before.minor is None:
        return
    case.money(into, "previous_amount", before.minor, before.currency)
    now = minor_of(case.data.get("recurring_pre_tax_amount"))
    same_terms = before.currency is not None and (before.currency, before.interval, before.interval_count) == (
        currency,
        text(case.data.get("payment_frequency_interval")),
        whole(case.data.get("payment_frequency_count")),
    )
    if now is not None and same_terms:
        into["direction"] = "same_price" if now == before.minor else "upgrade" if now > before.minor else "downgrade"


def identifies(case: Case, _row: Row, into: Attributes) -> None:
    """Without the state, the body's own subscription speaks for the person."""
    data = case.data
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return
    if case.delivery.mode == "live":
        case.notice("state-decides", SLOT)
    fill_slot(
        case,
        into,
        Subscription(
            subscription_id=subscription_id,
            status=_status(case),
            product_id=text(data.get("product_id")),
            next_billing=text(data.get("next_billing_date")),
            cancel_at_next_billing=flag(data.get("cancel_at_next_billing_date")) is True,
        ),
    )


def maybe_new(case: Case) -> bool:
    """Whatever a first period brings: an activation, a creation that failed."""
    if case.type == "subscription.failed":
        return True
    return case.type in {"subscription.active", "subscription.renewed"} and in_first_period(case.data) is not False


MAPPING: Final = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "subscription_id",
        "product_id",
        "product_name",
        "quantity",
        "addons",
        "amount",
        "currency",
        "tax_inclusive",
        "frequency",
        "frequency_count",
        "next_billing",
        "trial_period_days",
        "is_trial",
        "trial_ends_at",
        "trial_amount",
        "on_demand",
        "has_payment_method",
        "cancelled_at",
        "cancel_at_next_billing",
        "cancelled_by",
        "cancellation_feedback",
        "paused_at",
        "past_due_ends_at",
        "expires_at",
        "scheduled_product_id",
        "scheduled_product_name",
        "scheduled_change_at",
        "customer_business_name",
    ),
    status=STATUS,
    identifies=identifies,
    maybe_new=maybe_new,
)
