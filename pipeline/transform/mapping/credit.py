"""credit.*: entries of a credit ledger, and the warning that it runs low. Credits are units, not money."""

from __future__ import annotations

from typing import Final

from pipeline.dodo.catalogue import TYPES, Family
from pipeline.transform.fields import flag, whole
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row

BY_ENTRY: Final = Key(("id",))
DEDUCTED: Final = "credit.deducted"
BALANCE_LOW: Final = "credit.balance_low"


def _is_held(case: Case) -> bool:
    return not case.policy.emit_credit_deducted


_HELD: Final = Row(
    DEDUCTED,
    None,
    Condition("unless `PIPELINE_EMIT_CREDIT_DEDUCTED` (one a usage: high volume)", _is_held),
    drop="credit-deducted",
)

ROWS: Final = (
    _HELD,
    *(
        # A low balance has no entry, no id and no time of its own: only the webhook-id distinguishes one from the next.
        Row(name, name.replace(".", "_"), key=None if name == BALANCE_LOW else BY_ENTRY)
        for name, family in TYPES.items()
        if family is Family.CREDIT
    ),
)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """Ledger entry and low balance under one set of names."""
    data = case.data
    case.renamed(into, "credit_name", "credit_entitlement_name")
    case.texts(into, "credit_entitlement_id")
    if case.type == BALANCE_LOW:
        case.units(into, "balance", data.get("available_balance"))
        case.units(into, "threshold", data.get("threshold_amount"))
        if (percent := whole(data.get("threshold_percent"))) is not None:
            into["threshold_percent"] = percent
        case.units(into, "subscription_credits", data.get("subscription_credits_amount"))
        case.texts(into, "subscription_id")
        return
    case.renamed(into, "credit_entry_id", "id")
    case.units(into, "amount", data.get("amount"))
    case.units(into, "balance", data.get("balance_after"))
    if (is_credit := flag(data.get("is_credit"))) is not None:
        into["is_credit"] = is_credit
    case.texts(into, "transaction_type")


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "credit_name",
        "credit_entitlement_id",
        "credit_entry_id",
        "amount",
        "balance",
        "is_credit",
        "transaction_type",
        "threshold",
        "threshold_percent",
        "subscription_credits",
        "subscription_id",
    ),
)
