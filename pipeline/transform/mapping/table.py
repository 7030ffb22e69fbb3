"""The whole table: every family's rows, by type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.dodo.catalogue import Family
from pipeline.transform.mapping import (
    abandoned_checkout,
    credit,
    dispute,
    dunning,
    entitlement_grant,
    license_key,
    payment,
    payout,
    refund,
    subscription,
)
from pipeline.transform.mapping.rows import FamilyMapping, ReferenceRow, Row, reference_row

FAMILIES: Final[Mapping[Family, FamilyMapping]] = MappingProxyType(
    {
        Family.PAYMENT: payment.MAPPING,
        Family.SUBSCRIPTION: subscription.MAPPING,
        Family.REFUND: refund.MAPPING,
        Family.DISPUTE: dispute.MAPPING,
        Family.DUNNING: dunning.MAPPING,
        Family.ABANDONED_CHECKOUT: abandoned_checkout.MAPPING,
        Family.LICENSE_KEY: license_key.MAPPING,
        Family.ENTITLEMENT_GRANT: entitlement_grant.MAPPING,
        Family.CREDIT: credit.MAPPING,
        Family.PAYOUT: payout.MAPPING,
    }
)

TABLE: Final[Mapping[str, tuple[FamilyMapping, tuple[Row, ...]]]] = MappingProxyType(
    {
        type_: (mapping, tuple(row for row in mapping.rows if row.type == type_))
        for mapping in FAMILIES.values()
        for type_ in dict.fromkeys(row.type for row in mapping.rows)
    }
)
"""By type: its family and its rows, the first that holds decides."""

_NO_EVENT: Final = (Row("", None),)
CLAIMED: Final = (FamilyMapping(rows=_NO_EVENT, attributes=lambda _case, _row, _into: None, links=()), _NO_EVENT)
"""Of a type that is not in the table and that a shaper claims: what the person is known by, and no event."""


def reference_rows() -> tuple[ReferenceRow, ...]:
    """The mapping in words, type by type: what the documentation's reference page is made from."""
    return tuple(
        reference_row(row, mapping, first=index == 0)
        for mapping, rows in TABLE.values()
        for index, row in enumerate(rows)
    )
