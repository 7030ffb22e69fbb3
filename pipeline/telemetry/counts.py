"""What became of the spans of this process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpanCounts:
    """Spans that ended, by what became of them. Each number is written by one thread and read by any.

    Attributes:
        admitted: wait for the exporter, or did.
        exported: the collector took them.
        failed: it did not, or not in time.
        dropped: so many waited that there was no room.
    """

    admitted: int = 0
    exported: int = 0
    failed: int = 0
    dropped: int = 0

    @property
    def waiting(self) -> int:
        """Spans in memory."""
        return self.admitted - self.exported - self.failed
