"""license_key.created: the customer has a key; the key itself never leaves Dodo's body."""

from __future__ import annotations

from typing import Final

from pipeline.transform.fields import whole
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row, Status

STATUS: Final = Status(
    field="status",
    attribute="license_key_status",
    agrees={"license_key.created": frozenset({"active"})},
    known=frozenset({"active", "expired", "disabled"}),
)

ROWS: Final = (Row("license_key.created", "license_key_created", key=Key(("id",))),)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """About the key, never `key`. `id` would re-address the person at Customer.io, hence `license_key_id`."""
    data = case.data
    case.texts(into, "product_id", "payment_id", "subscription_id")
    case.renamed(into, "license_key_id", "id")
    if (name := case.policy.product_names.get(into.get("product_id", ""))) is not None:
        into["product_name"] = name
    if (limit := whole(data.get("activations_limit"))) is not None:
        into["activations_limit"] = limit
    case.date(into, "expires_at", data.get("expires_at"))


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=(
        "license_key_id",
        "product_id",
        "product_name",
        "activations_limit",
        "expires_at",
        "payment_id",
        "subscription_id",
    ),
    status=STATUS,
)
