"""The ledger of records that retention deleted before a group had read them: kept for a day, or until acknowledged.

A loss is over in a moment, and the worker that met it may be another one a minute later. So it is written down where
every worker and every command of the pipeline can see it: as the committed offset of a group of its own, which never
has members (`<group>.losses`). The offset of a partition is the first that was still there; the text beside it has how
many were lost and when, and is empty once the loss was acknowledged. No topic is needed for it, and Kafka forgets it
`offsets.retention.minutes` (a week) after the last loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KEPT_MS: Final = 24 * 3_600_000
"""A loss that nobody acknowledged is shown for a day: longer than a night and its morning."""

ACKNOWLEDGED: Final = ""
"""The text beside an offset below which everything that was lost is known."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets below `stop` of a partition were deleted unread: `records` of them, the last ones seen at `at_ms`.

    0 records were acknowledged, or reset.
    """

    stop: int
    records: int = 0
    at_ms: int = 0

    def is_shown(self, now_ms: float) -> bool:
        """Whether somebody should still hear of it."""
        return self.records > 0 and now_ms - self.at_ms < KEPT_MS

    @property
    def text(self) -> str:
        """As it is written beside the offset."""
        return json.dumps({"lost": self.records, "at": self.at_ms}, separators=(",", ":")) if self.records else ""


def ledger_of(group: str) -> str:
    """The group whose offsets are the losses of `group`."""
    return f"{group}.losses"


def read_loss(offset: int, text: str) -> Loss:
    """The loss that stands at `offset`; a text that is none of ours counts as acknowledged."""
    try:
        told = json.loads(text or "{}")
        records, at_ms = told["lost"], told["at"]
    except (ValueError, TypeError, KeyError):
        return Loss(offset)
    if type(records) is not int or type(at_ms) is not int or records < 0:
        return Loss(offset)
    return Loss(offset, records, at_ms)


def added(known: Loss | None, first: int, stop: int, now_ms: int) -> Loss | None:
    """The entry after offsets `first` to `stop` (exclusive) were found deleted; None when all of them were known.

    What is older than a day is not added to.
    """
    if known is None:
        return Loss(stop, stop - first, now_ms)
    fresh = stop - max(first, known.stop)
    if fresh <= 0:
        return None
    return Loss(stop, fresh + (known.records if known.is_shown(now_ms) else 0), now_ms)


def shown(losses: Mapping[int, Loss], now_ms: float) -> dict[int, Loss]:
    """Those that somebody should still hear of."""
    return {number: loss for number, loss in losses.items() if loss.is_shown(now_ms)}
