"""Counts the spans of this process: exported, failed and dropped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpanCounts:
    """Counts of spans that ended. Each number is written by one thread and read by any.

    Attributes:
        admitted: given to the exporter, whether they still wait or not.
        exported: the collector accepted them.
        failed: it did not, or not in time.
        dropped: there was no room, since too many waited.
    """

    admitted: int = 0
    exported: int = 0
    failed: int = 0
    dropped: int = 0

    @property
    def waiting(self) -> int:
        """Spans in memory."""
        return self.admitted - self.exported - self.failed
