"""Refusals in the log: each kind at once, then counted, so that an attacker cannot fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pipeline import logs
from pipeline.ingest.events import Outcome, RequestEnded

log = logs.get(__name__)

QUIET_S: Final = 10.0
"""At most one line of each outcome within this; the next one has how many were left out."""

SILENT: Final[frozenset[Outcome]] = frozenset({"accepted", "client-gone"})
"""What needs nobody's attention; metrics count it."""


class Journal:
    """An observer of `RequestEnded`; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at: dict[Outcome, float] = {}
        self._untold: dict[Outcome, int] = {}

    def __call__(self, event: object) -> None:
        """Log a request that was not simply accepted."""
        if not isinstance(event, RequestEnded) or event.outcome in SILENT:
            return
        now = self._clock()
        if now - self._told_at.get(event.outcome, -QUIET_S) < QUIET_S:
            self._untold[event.outcome] = self._untold.get(event.outcome, 0) + 1
            return
        self._told_at[event.outcome] = now
        log.warning(
            "webhook not accepted",
            outcome=event.outcome,
            status=event.status,
            reason=event.reason,
            bytes=event.size_bytes,
            seconds=round(event.seconds, 3),
            like_this_since_last=self._untold.pop(event.outcome, 0),
        )
