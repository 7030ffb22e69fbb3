"""refund.*: money on its way back, or not."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import flag, text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_goods, put_payment_amount
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row, Status
from pipeline.transform.money import currency_code, minor_of
from pipeline.transform.profile import History

BY_REFUND: Final = Key(("refund_id",))
TOTALS: Final = "refunded_total, fully_refunded and the person's total_spent come from the state"

STATUS: Final = Status(
    field="status",
    attribute="refund_status",
    agrees={
        "refund.succeeded": frozenset({"succeeded"}),
        "refund.failed": frozenset({"failed"}),
    },
    known=frozenset({"succeeded", "failed", "pending", "review"}),
)

ROWS: Final = (
    Row("refund.succeeded", "refund_succeeded", key=BY_REFUND, decides=TOTALS),
    Row("refund.failed", "refund_failed", key=BY_REFUND),
)


def attributes(case: Case, row: Row, into: Attributes) -> None:
    """The refund; with the state also what was paid for what, and how much of it is back by now."""
    data = case.data
    currency = case.currency(into)
    case.main_money(into, "refund_amount", data.get("amount"), currency)
    case.texts(into, "refund_id", "payment_id")
    if (partial := flag(data.get("is_partial"))) is not None:
        into["is_partial"] = partial
    case.texts(into, "reason")
    payment_id = text(data.get("payment_id"))
    payment = case.history.payment(payment_id) if case.history is not None and payment_id is not None else None
    if payment is not None:
        put_payment_amount(case, into, payment.minor, payment.currency)
        put_goods(case, into, list(payment.products), list(payment.subscriptions))
    if row.event != "refund_succeeded":
        return
    if partial is False:
        into["fully_refunded"] = True  # the body shows it; nothing has to be known of the payment
    if case.history is None or payment_id is None:
        return
    _warn_of_unknown_worth(case, case.history, payment_id)
    refunded = case.history.refunded(payment_id)
    if refunded is not None:
        case.money(into, "refunded_total", refunded.minor, refunded.currency)
        into["fully_refunded"] = refunded.fully or partial is False


def _warn_of_unknown_worth(case: Case, history: History, payment_id: str) -> None:
    """A refund whose worth in the payment's currency is unknown is left out of the totals.

    A full one is worth what was left of its payment, whatever its own amount.
    """
    data = case.data
    if flag(data.get("is_partial")) is False:
        return
    minor, currency = minor_of(data.get("amount")), currency_code(data.get("currency"))
    if minor is None or minor < 0 or currency is None:
        what = "currency" if minor is not None and minor >= 0 else "amount"
        case.notice("uncounted-refund", f"a refund without a readable {what} that may be partial: not in the totals")
        return
    payment = history.payment(payment_id)
    if payment is not None and payment.currency != currency:
        case.notice("uncounted-refund", "the refund is not in its payment's currency: not in the totals")


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "refund_amount",
        "currency",
        "refund_id",
        "payment_id",
        "is_partial",
        "reason",
        "fully_refunded",
        "refunded_total",
        "payment_amount",
        "payment_currency",
        "products",
        "product_id",
        "product_name",
    ),
    status=STATUS,
)
