"""abandoned_checkout.*: a checkout left behind, and found again."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_goods
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status
from pipeline.transform.profile import History

BY_PAYMENT: Final = Key(("payment_id",), time="abandoned_at")
DETECTED: Final = "abandoned_checkout.detected"
RECOVERED: Final = "abandoned_checkout.recovered"

STATUS: Final = Status(
    field="status",
    attribute="checkout_status",
    agrees={
        DETECTED: frozenset({"abandoned", "recovering", "exhausted"}),
        RECOVERED: frozenset({"recovered", "opted_out"}),
    },
    known=frozenset({"abandoned", "recovering", "recovered", "exhausted", "opted_out"}),
)


def _opted_out(case: Case) -> bool:
    return (text(case.data.get("status")) or "").lower() == "opted_out"


ROWS: Final = (
    Row(
        DETECTED,
        None,
        Condition("`status` = opted_out: the customer wants no recovery mail", _opted_out),
        drop="opted-out",
    ),
    Row(DETECTED, "abandoned_checkout_detected", key=BY_PAYMENT),
    Row(RECOVERED, "abandoned_checkout_recovered", key=BY_PAYMENT),
)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """The checkout's payment, why it was left, and the payment that made up for it; with the state what it was for.

    The amount is that of the payment that was left, or of the one that made up for it.
    """
    case.texts(into, "payment_id")
    case.renamed(into, "reason", "abandonment_reason")
    case.texts(into, "recovered_payment_id")
    case.date(into, "abandoned_at", case.data.get("abandoned_at"))
    if case.history is not None:
        _payment(case, case.history, into)


def _payment(case: Case, history: History, into: Attributes) -> None:
    left_id, paid_id = into.get("payment_id"), into.get("recovered_payment_id")
    left = next((unpaid for unpaid in history.unpaid if unpaid.payment_id == left_id), None)
    paid = next((found for one in (paid_id, left_id) if one is not None and (found := history.payment(one))), None)
    shown = paid or left
    if shown is None:
        return
    if shown.currency is not None:
        into["currency"] = shown.currency
    case.money(into, "payment_amount", shown.minor, shown.currency)
    put_goods(case, into, list(shown.products), list(shown.subscriptions))
    if paid is None and left is not None and left.link is not None:
        into["payment_link"] = left.link


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "payment_id",
        "reason",
        "recovered_payment_id",
        "abandoned_at",
        "payment_amount",
        "currency",
        "products",
        "product_id",
        "product_name",
        "payment_link",
    ),
    status=STATUS,
)
