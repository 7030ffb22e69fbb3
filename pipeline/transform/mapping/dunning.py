"""dunning.*: winning back a failed renewal, or a customer who cancelled."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_payment_amount, put_plan
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status
from pipeline.transform.profile import History, Unpaid
from pipeline.transform.timestamps import DAY_MS, to_ms

BY_ATTEMPT: Final = Key(("subscription_id", "created_at"))
"""A dunning attempt has no id of its own."""

STATUS: Final = Status(
    field="status",
    attribute="dunning_status",
    agrees={
        "dunning.started": frozenset({"recovering", "exhausted"}),
        "dunning.recovered": frozenset({"recovered"}),
    },
    known=frozenset({"recovering", "recovered", "exhausted"}),
)


def _after_cancellation(case: Case) -> bool:
    return (text(case.data.get("trigger_state")) or "").lower() == "cancelled"


CANCELLED: Final = Condition("`trigger_state` = cancelled", _after_cancellation)

ROWS: Final = (
    Row("dunning.started", "winback_started", CANCELLED, key=BY_ATTEMPT),
    Row("dunning.started", "dunning_started", key=BY_ATTEMPT),
    Row("dunning.recovered", "winback_recovered", CANCELLED, key=BY_ATTEMPT),
    Row("dunning.recovered", "dunning_recovered", key=BY_ATTEMPT),
)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """Which subscription, why, and the payment that recovered it; with the state its plan and what is owed.

    `amount` is the plan's price, `payment_amount` what was charged: by the payment that the body names, else by the one
    of the subscription that failed when this began. When Dodo tries again is in no webhook: its retries are switched on
    in the dashboard, and the billing date moves only once one has succeeded (docs.dodopayments.com, payment retries).
    """
    case.texts(into, "subscription_id", "trigger_state", "payment_id")
    history, subscription_id = case.history, into.get("subscription_id")
    if history is None or subscription_id is None:
        return
    plan = history.subscription(subscription_id)
    if plan is not None:
        put_plan(case, into, plan)
    payment = history.payment(into["payment_id"]) if "payment_id" in into else None
    if payment is not None:
        put_payment_amount(case, into, payment.minor, payment.currency)
    elif failed := _failed(case, history, subscription_id):
        put_payment_amount(case, into, failed.minor, failed.currency)
        if failed.link is not None:
            into["payment_link"] = failed.link


def _failed(case: Case, history: History, subscription_id: str) -> Unpaid | None:
    """The payment with which the trouble began; one of an earlier period has another amount and a dead link."""
    began_ms = to_ms(case.data.get("created_at"))
    since_ms = (case.event_ms if began_ms is None else began_ms) - DAY_MS
    for unpaid in history.unpaid:
        if subscription_id in unpaid.subscriptions and unpaid.at_ms >= since_ms:
            return unpaid if history.payment(unpaid.payment_id) is None else None
    return None


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "subscription_id",
        "trigger_state",
        "payment_id",
        "product_id",
        "product_name",
        "amount",
        "currency",
        "frequency",
        "frequency_count",
        "payment_amount",
        "payment_currency",
        "payment_link",
    ),
    status=STATUS,
)
