"""payment.*: charges, card updates, and the failures on the way."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import elements, members, text, whole
from pipeline.transform.mapping import trials
from pipeline.transform.mapping.card import fill_card
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_goods
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status
from pipeline.transform.profile import Card

BY_PAYMENT: Final = Key(("payment_id",))

TOTALS: Final = (
    "total_spent, payment_count and customer_since come from the state; without it the last delivered payment gives "
    "last_payment_date and payment_method"
)

KNOWN: Final = frozenset(
    {
        "succeeded",
        "failed",
        "cancelled",
        "processing",
        "requires_customer_action",
        "requires_merchant_action",
        "requires_payment_method",
        "requires_confirmation",
        "requires_capture",
        "partially_captured",
        "partially_captured_and_capturable",
    }
)
"""`IntentStatus` of the dodopayments SDK."""

SETTLED: Final = frozenset({"succeeded", "partially_captured", "partially_captured_and_capturable"})
PENDING: Final = KNOWN - SETTLED - {"failed", "cancelled"}

STATUS: Final = Status(
    field="status",
    attribute="payment_status",
    agrees={
        "payment.succeeded": SETTLED,
        "payment.failed": frozenset({"failed", "requires_payment_method"}),
        "payment.processing": PENDING,
        "payment.cancelled": frozenset({"cancelled"}),
    },
    known=KNOWN,
)

GENERIC_FAILURE: Final = "declined"
"""For codes that must not reach a customer (STOLEN_CARD, LOST_CARD, PICKUP_CARD, FRAUDULENT) and codes that are new:
Dodo docs, "Transaction Failures", ask for a generic decline message."""

FAILURE_CATEGORIES: Final = {
    "INSUFFICIENT_FUNDS": "insufficient_funds",
    "EXPIRED_CARD": "expired_card",
    "AUTHENTICATION_FAILURE": "authentication_required",
    "AUTHENTICATION_REQUIRED": "authentication_required",
    "AUTHENTICATION_TIMEOUT": "authentication_required",
    "MANDATE_INVALID": "authentication_required",
    "MANDATE_REQUIRED": "authentication_required",
    "MANDATE_REQUIRED_SYSTEM": "processing_error",
    "INVALID_AMOUNT": "processing_error",
    "INVALID_REQUEST": "processing_error",
    "NETWORK_ERROR": "processing_error",
    "NETWORK_TIMEOUT": "processing_error",
    "ORDER_CREATION_FAILED": "processing_error",
    "PROCESSING_ERROR": "processing_error",
    "PROVIDER_UNSUPPORTED": "processing_error",
    "REENTER_TRANSACTION": "processing_error",
    "TRY_AGAIN_LATER": "processing_error",
    "UNKNOWN_ERROR": "processing_error",
}
"""`error_code` to a category that any mail may print; every other code is the generic one."""

NO_FAILURE: Final = frozenset({"CUSTOMER_CANCELLED"})
"""The customer's own wish: nobody declined anything."""

UNKNOWN_METHOD: Final = "unknown"
"""What the vendor's recipe puts in place of a missing method; on a profile it would overwrite a known one."""

CARD_HINTS: Final = ("card_last_four", "card_exp_month", "card_exp_year")
CARD: Final = ("card_network", *CARD_HINTS)


def _is_card_update(case: Case) -> bool:
    return case.paid.is_card_update


def _card_update_seen(case: Case) -> bool:
    """The subscription's own `subscription_payment_method_updated` is known to have emitted this very change."""
    if not case.paid.is_card_update or case.history is None:
        return False
    method, told = text(case.data.get("payment_method_id")), case.history.card_told
    return any(told(each, method, case.event_ms, "subscription") for each in case.paid.subscriptions)


def _is_free(case: Case) -> bool:
    return case.paid.minor == 0


def _is_free_checkout(case: Case) -> bool:
    paid = case.paid
    return paid.minor == 0 and not paid.subscriptions and (text(case.data.get("charge_type")) or "new") == "new"


def _needs_customer(case: Case) -> bool:
    return (text(case.data.get("status")) or "").lower() == "requires_customer_action"


ROWS: Final = (
    Row(
        "payment.succeeded",
        None,
        Condition("state: a card update that subscription.update_payment_method has told", _card_update_seen),
        suppressed=True,
    ),
    Row(
        "payment.succeeded",
        "payment_method_updated",
        Condition("`is_update_payment_method`", _is_card_update),
        key=BY_PAYMENT,
        decides="the state holds this event back when subscription.update_payment_method told the same change",
    ),
    Row(
        "payment.succeeded",
        "free_checkout_completed",
        Condition("`total_amount` = 0, `charge_type` null or `new`, no subscription", _is_free_checkout),
        key=BY_PAYMENT,
    ),
    Row(
        "payment.succeeded", None, Condition("`total_amount` = 0 else (downgrade credit, what opens a trial)", _is_free)
    ),
    Row("payment.succeeded", "payment_completed", key=BY_PAYMENT, decides=TOTALS),
    Row("payment.failed", "payment_failed"),
    Row(
        "payment.processing",
        "payment_action_required",
        Condition("`status` = requires_customer_action", _needs_customer),
    ),
    Row("payment.processing", "payment_processing"),
    Row("payment.cancelled", "payment_cancelled"),
)


def attributes(case: Case, row: Row, into: Attributes) -> None:
    """What was charged, how, for what."""
    data, paid = case.data, case.paid
    currency = case.currency(into)
    case.main_money(into, "payment_amount", data.get("total_amount"), currency)
    into["payment_method"] = paid.method or UNKNOWN_METHOD
    case.texts(into, "payment_method_type", "card_network", "payment_id")
    paid_for = paid.subscriptions
    if len(paid_for) == 1:
        into["subscription_id"] = paid_for[0]
    elif paid_for:
        into["subscription_ids"] = paid_for
    is_completed = row.event == "payment_completed"
    if is_completed and case.history is not None and (payment_id := into.get("payment_id")) is not None:
        into["is_first_payment"] = case.history.is_first_payment(payment_id)
        if case.history.refunded_otherwise(payment_id):
            case.notice("uncounted-refund", "a refund in another currency came before its payment: not in the totals")
    put_goods(case, into, paid.cart, paid_for)
    case.money(into, "tax", data.get("tax"), currency)
    case.texts(into, "invoice_id", "invoice_url", "charge_type")
    if discounts := data.get("discounts"):
        codes = [code for entry in elements(discounts) if (code := text(members(entry).get("code")))]
        if codes:
            into["discount_codes"] = codes
    if (retry := whole(data.get("retry_attempt"))) is not None and retry >= 0:
        into["retry_attempt"] = retry
    if row.event == "payment_failed":
        _failure(case, into)
    if is_completed and paid_for and trials.charge_converts(case, paid_for):
        into["is_trial_conversion"] = True
    case.texts(into, "payment_link", "checkout_session_id", "customer_business_name")
    if case.policy.forward_card_hints:
        case.texts(into, *CARD_HINTS)


def _failure(case: Case, into: Attributes) -> None:
    code = (text(case.data.get("error_code")) or "").upper()
    if not code or code in NO_FAILURE:
        return
    into["failure_category"] = FAILURE_CATEGORIES.get(code, GENERIC_FAILURE)


def identifies(case: Case, row: Row, into: Attributes) -> None:
    """A succeeded payment shows how and when the person paid last; the sums are the state's."""
    if case.type != "payment.succeeded":
        return
    if (method := text(case.data.get("payment_method"))) is not None and method != UNKNOWN_METHOD:
        into["payment_method"] = method
    if case.policy.forward_card_hints:
        fill_card(into, Card(*(text(case.data.get(name)) for name in CARD)))
    if row.event == "payment_completed" and case.occurred_ms is not None:
        case.date(into, "last_payment_date", case.sent_at)


def maybe_new(case: Case) -> bool:
    """Checkouts and first charges; renewals and card updates are of people that were identified before."""
    if _is_card_update(case):
        return False
    charge_type = text(case.data.get("charge_type"))
    if charge_type is not None:
        return charge_type == "new"
    return not case.paid.subscriptions or text(case.data.get("checkout_session_id")) is not None


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "payment_amount",
        "currency",
        "payment_method",
        "payment_method_type",
        "card_network",
        "payment_id",
        "subscription_id or subscription_ids",
        "products",
        "product_id",
        "product_name",
        "is_first_payment",
        "tax",
        "invoice_id",
        "invoice_url",
        "charge_type",
        "discount_codes",
        "retry_attempt",
        "failure_category",
        "payment_link",
        "checkout_session_id",
        "customer_business_name",
    ),
    status=STATUS,
    identifies=identifies,
    maybe_new=maybe_new,
)
