"""What each Dodo webhook becomes: a pure function of the body, the delivery, the policy and the customer's state.

`map_webhook` is the way in (`webhook`). One file per Dodo family holds that family's rows and attributes (`rows` has
what a row is, `table` has them all); `identify` and `events` build what is common; `periods` knows billing periods.
CONTRIBUTING.md has the steps to add a new type.
"""

from __future__ import annotations

from pipeline.transform.mapping.rows import ReferenceRow
from pipeline.transform.mapping.table import reference_rows
from pipeline.transform.mapping.webhook import map_body, map_webhook

__all__ = ["ReferenceRow", "map_body", "map_webhook", "reference_rows"]
