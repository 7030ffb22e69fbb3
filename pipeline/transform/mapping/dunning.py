"""dunning.*: winning back a failed renewal, or a customer who cancelled."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import text
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.rows import Condition, FamilyMapping, Key, Row, Status

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
    """Which subscription, why, and the payment that recovered it."""
    case.texts(into, "subscription_id", "trigger_state", "payment_id")


MAPPING: Final = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=("subscription_id", "trigger_state", "payment_id"),
    status=STATUS,
)
