"""subscription.*: a plan's life, one event at each turn."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import flag, text, whole
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.periods import at_creation, in_first_period, is_first_renewal, seen_trial_ms
from pipeline.transform.mapping.primary_subscription import fill_primary_subscription
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status
from pipeline.transform.mapping.subscription_attributes import attributes
from pipeline.transform.money import currency_code, minor_of
from pipeline.transform.profile import BILLING, ENDED, Subscription
from pipeline.transform.timestamps import to_ms

KNOWN: Final = frozenset({"pending", "active", "on_hold", "paused", "cancelled", "failed", "expired", "past_due"})
"""`SubscriptionStatus` of the dodopayments SDK."""

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

IMPLIED: Final = {type_: next(iter(fitting)) for type_, fitting in STATUS.agrees.items() if len(fitting) == 1}
"""The status that a type implies when the body has none: an ex-customer's next billing must go all the same."""


def _status(case: Case) -> str | None:
    status = text(case.data.get("status"))
    return None if status is None else status.lower()


def _is_start(case: Case) -> bool:
    in_first = in_first_period(case.data) is not None and at_creation(case.data, case.occurred_ms)
    subscription_id = text(case.data.get("subscription_id"))
    history = case.history
    if history is None or subscription_id is None:
        return in_first
    first = history.first_activation(subscription_id)
    earliest = first is None or first.webhook_id == case.delivery.webhook_id or case.event_ms <= first.at_ms
    created = to_ms(case.data.get("created_at"))
    before_state = created is None or created < history.began_at_ms
    # What lapsed before had begun before that: its own activation is still on the way.
    return earliest and (in_first or not before_state) and not history.lapsed_before(subscription_id, case.event_ms)


def _card_told(case: Case) -> bool:
    """The payment's own `payment_method_updated` is known to have emitted this very change."""
    subscription_id = text(case.data.get("subscription_id"))
    if case.history is None or subscription_id is None:
        return False
    return case.history.card_told(subscription_id, text(case.data.get("payment_method_id")), case.event_ms, "payment")


def _is_answered(case: Case) -> bool:
    subscription_id = text(case.data.get("subscription_id"))
    if case.history is None or subscription_id is None:
        return False
    return case.history.pause_answered(subscription_id, case.event_ms)


def _has_state(case: Case) -> bool:
    return case.history is not None


def _is_held_first_renewal(case: Case) -> bool:
    return not case.policy.emit_first_renewal and is_first_renewal(case)


def _is_scheduled(case: Case) -> bool:
    if flag(case.data.get("cancel_at_next_billing_date")) is not True or _status(case) not in BILLING:
        return False
    subscription_id = text(case.data.get("subscription_id"))
    if case.history is None or subscription_id is None:
        return True
    return case.history.cancellation_shown_by(subscription_id) in {None, case.delivery.webhook_id}


def _is_withdrawn(case: Case) -> bool:
    subscription_id = text(case.data.get("subscription_id"))
    if case.history is None or subscription_id is None or _status(case) not in BILLING:
        return False
    withdrawn = flag(case.data.get("cancel_at_next_billing_date")) is False
    return withdrawn and case.history.cancellation_shown_by(subscription_id) is not None


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
            "state: no earlier activation of this subscription, no lapse before it, and for one older than the state "
            "`previous_billing_date` or the event at `created_at`; stateless: one of these at `created_at`",
            _is_start,
        ),
        key=Key(("subscription_id",)),
        decides=ACTIVATION,
    ),
    Row(
        "subscription.active",
        None,
        Condition("state: else (after a lapse, and a plan change fires it too)", _has_state),
    ),
    Row("subscription.active", "subscription_activated", decides=ACTIVATION),
    Row(
        "subscription.renewed",
        None,
        Condition(
            "first period (state: its payment is `new`; while that is not known, and stateless: "
            "`previous_billing_date` or the event at `created_at`; state: or at a first activation in the first half "
            "of a period; never on-demand), unless `PIPELINE_EMIT_FIRST_RENEWAL`",
            _is_held_first_renewal,
        ),
        decides=RENEWAL,
    ),
    Row("subscription.renewed", "subscription_renewed", decides=RENEWAL),
    Row("subscription.on_hold", "subscription_on_hold"),
    Row("subscription.past_due", "subscription_past_due"),
    Row("subscription.paused", "subscription_paused"),
    Row(
        "subscription.unpaused",
        None,
        Condition("state: another webhook showed first that the pause is over, and has told it", _is_answered),
        suppressed=True,
    ),
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
    Row(
        "subscription.update_payment_method",
        None,
        Condition("state: a card update that a payment has told", _card_told),
        suppressed=True,
    ),
    Row(
        "subscription.update_payment_method",
        "subscription_payment_method_updated",
        decides="the state holds this event back when a payment told the same change",
    ),
)


def identifies(case: Case, _row: Row, into: Attributes) -> None:
    """Without the state, the body's own subscription speaks for the person."""
    data = case.data
    subscription_id = text(data.get("subscription_id"))
    if subscription_id is None:
        return
    if case.delivery.mode == "live":
        case.notice("state-decides", SLOT)
    fill_primary_subscription(
        case,
        into,
        Subscription(
            subscription_id=subscription_id,
            status=_status(case) or IMPLIED.get(case.type),
            product_id=text(data.get("product_id")),
            minor=minor_of(data.get("recurring_pre_tax_amount")),
            currency=currency_code(data.get("currency")),
            interval=text(data.get("payment_frequency_interval")),
            interval_count=whole(data.get("payment_frequency_count")),
            trial_ends_ms=seen_trial_ms(data, case.snapshot_s * 1000),
            next_billing=text(data.get("next_billing_date")),
            cancelled_at=text(data.get("cancelled_at")),
            cancel_at_next_billing=flag(data.get("cancel_at_next_billing_date")) is True,
        ),
    )


def maybe_new(case: Case) -> bool:
    """Whatever a first period brings: an activation, a creation that failed."""
    if case.type == "subscription.failed":
        return True
    return case.type in {"subscription.active", "subscription.renewed"} and in_first_period(case.data) is not False


MAPPING: Final[FamilyMapping] = FamilyMapping(
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
