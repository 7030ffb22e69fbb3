"""dispute.*: a cardholder's complaint on its way through the bank."""

from __future__ import annotations

from typing import Final

from pipeline.dodo.catalogue import TYPES, Family
from pipeline.transform.fields import flag, text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.goods import put_goods
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row, Status
from pipeline.transform.money import amount_of

BY_STAGE: Final = Key(("dispute_id", "dispute_stage"))
"""One dispute can be opened, lost and so on again at its next stage (pre_dispute, dispute, pre_arbitration)."""

_TYPES: Final = tuple(name for name, family in TYPES.items() if family is Family.DISPUTE)
_STATUS_OF: Final = {name: f"dispute_{name.removeprefix('dispute.')}" for name in _TYPES}

STATUS: Final = Status(
    field="dispute_status",
    attribute="dispute_status",
    agrees={name: frozenset({status}) for name, status in _STATUS_OF.items()},
    known=frozenset(_STATUS_OF.values()),
)
"""Values carry the prefix `dispute_`, which the vendor's own pages once forgot."""

LOST: Final = frozenset({"dispute.lost", "dispute.accepted"})

ROWS: Final = tuple(
    Row(
        name,
        name.replace(".", "_"),
        key=BY_STAGE,
        decides="has_lost_dispute on the person comes from the state" if name in LOST else None,
    )
    for name in _TYPES
)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """The dispute. Its amount's unit is documented nowhere, so it goes as text under a name that shows it.

    Where it is the known payment's amount, in minor units or as a decimal, the unit is plain, and it can be printed.
    """
    data = case.data
    case.texts(into, "dispute_id", "payment_id")
    raw = data.get("amount")
    if (amount := repr(raw) if type(raw) is float else text(raw)) is not None:
        into["dispute_amount_raw"] = amount
    case.currency(into)
    case.texts(into, "dispute_stage", "reason")
    payment_id = into.get("payment_id")
    payment = case.history.payment(payment_id) if case.history is not None and payment_id is not None else None
    if payment is not None:
        told = case.currency({})
        exponent = case.policy.exponents.get(payment.currency or "")
        worth = {str(payment.minor), amount_of(payment.minor, exponent).text}
        if told in {None, payment.currency} and amount is not None and amount.removesuffix(".0") in worth:
            case.money(into, "dispute_amount", payment.minor, payment.currency)
        put_goods(case, into, list(payment.products), list(payment.subscriptions))
    if (resolved := flag(data.get("is_resolved_by_rdr"))) is not None:
        into["is_resolved_by_rdr"] = resolved


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "dispute_id",
        "payment_id",
        "dispute_amount_raw",
        "dispute_amount",
        "products",
        "product_id",
        "product_name",
        "currency",
        "dispute_stage",
        "reason",
        "is_resolved_by_rdr",
    ),
    status=STATUS,
)
