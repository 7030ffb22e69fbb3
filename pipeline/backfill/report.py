"""The result of a backfill: sentences for people, a document for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pipeline.backfill.backfill import Order
from pipeline.backfill.journal import Journal
from pipeline.errors import PipelineError

SHOWN: Final = 10
"""How many left-out objects are named for people."""

LISTED: Final = 1_000
"""How many are named for programs."""


class Report:
    """Filled while an order is carried out; read before the journal is closed.

    Attributes:
        error: the error that ended it.
        interrupted: whether it was stopped before its end.
        requests: requests to Dodo's API in this run.
    """

    def __init__(self, order: Order, journal: Journal, *, dry_run: bool, path: Path | None) -> None:
        self._order = order
        self._journal = journal
        self._dry_run = dry_run
        self._path = path
        self.error: PipelineError | None = None
        self.interrupted = False
        self.requests = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do for the same command."""
        return self.error is None and not self.interrupted

    @property
    def ok(self) -> bool:
        """Whether all objects that were asked for are in the topic, or would be, for a dry run."""
        return self.complete and not self._journal.left_out_count()

    def sentences(self) -> Iterator[str]:
        """The result for people, line by line."""
        journal = self._journal
        counts = ", ".join(f"{journal.objects(name):,} {name}" for name in self._order.what)
        would = "would be sent" if self._dry_run else "sent"
        yield f"{counts} of {journal.customers():,} customers {would} as commands ({self.requests:,} requests to Dodo)"
        if self._order.emit_identify:
            yield f"{journal.identified():,} customers' profiles {'would be ' if self._dry_run else ''}asked for"
        left_out = journal.left_out_count()
        for item in journal.left_out(SHOWN):
            yield f"left out: {item.collection} {item.object_id or '(no id)'}: {item.reason}"
        if left_out > SHOWN:
            yield f"left out: {left_out - SHOWN:,} more (--json names up to {LISTED:,})"
        if not self.complete and self._path is not None:
            yield f"Not complete: the same command goes on from here (state in {self._path})"

    def document(self) -> dict[str, Any]:
        """The result for programs, as JSON."""
        journal = self._journal
        return {
            "from": _written(self._order.since),
            "to": _written(journal.until),
            "dry_run": self._dry_run,
            "complete": self.complete,
            "interrupted": self.interrupted,
            "error": None if self.error is None else str(self.error),
            "objects": {name: journal.objects(name) for name in self._order.what},
            "customers": journal.customers(),
            "identified": journal.identified() if self._order.emit_identify else None,
            "left_out": journal.left_out_count(),
            "left_out_objects": [
                {"collection": item.collection, "id": item.object_id, "reason": item.reason}
                for item in journal.left_out(LISTED)
            ],
            "requests": self.requests,
            "resumed": journal.resumed,
            "state_file": None if self._path is None else str(self._path),
        }


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
