"""entitlement_grant.*: access that was bought is given, fails or is taken back.

A grant holds licence keys, presigned download URLs and OAuth URLs: what this file does not name stays behind.
"""

from __future__ import annotations

from typing import Final

from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.rows import FamilyMapping, Key, Row, Status

STATUS: Final = Status(
    field="status",
    attribute="grant_status",
    agrees={
        "entitlement_grant.created": frozenset({"pending", "delivered"}),
        "entitlement_grant.delivered": frozenset({"delivered"}),
        "entitlement_grant.failed": frozenset({"failed"}),
        "entitlement_grant.revoked": frozenset({"revoked"}),
    },
    known=frozenset({"pending", "delivered", "failed", "revoked"}),
)
"""Sent capitalised (`Pending`), compared in lower case."""

ROWS: Final = (
    # A pause takes a grant back and gives the same id again: the moment is part of the fact.
    Row("entitlement_grant.created", "entitlement_grant_created", key=Key(("id",), after=("revoked_at",))),
    Row("entitlement_grant.delivered", "entitlement_grant_delivered", key=Key(("id", "delivered_at"))),
    # The vendor names a grant's webhook by id and type; a failure after a pause is another one.
    Row(
        "entitlement_grant.failed",
        "entitlement_grant_failed",
        key=Key(("id",), after=("delivered_at", "revoked_at")),
    ),
    Row("entitlement_grant.revoked", "entitlement_grant_revoked", key=Key(("id", "revoked_at"))),
)


def attributes(case: Case, _row: Row, into: Attributes) -> None:
    """Which access, for which purchase; `error_code` and `error_message` are not for campaigns."""
    case.renamed(into, "grant_id", "id")
    case.texts(into, "entitlement_id", "integration_type", "revocation_reason", "payment_id", "subscription_id")


MAPPING: Final[FamilyMapping] = FamilyMapping(
    rows=ROWS,
    attributes=attributes,
    links=("grant_id", "entitlement_id", "integration_type", "revocation_reason", "payment_id", "subscription_id"),
    status=STATUS,
)
