"""payout.*: the merchant's own money, which no customer may hear of."""

from __future__ import annotations

from typing import Final

from pipeline.dodo.catalogue import RETIRED, TYPES, Family
from pipeline.transform.mapping.case import Attributes, Case
from pipeline.transform.mapping.rows import FamilyMapping, Row

_PREFIX: Final = f"{Family.PAYOUT}."

ROWS: Final = tuple(Row(name, None, drop="payout") for name in (*TYPES, *RETIRED) if name.startswith(_PREFIX))


def attributes(_case: Case, _row: Row, _into: Attributes) -> None:
    """Nothing: no payout becomes an event."""


MAPPING: Final[FamilyMapping] = FamilyMapping(rows=ROWS, attributes=attributes, links=())
