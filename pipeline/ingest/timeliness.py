"""Notices genuine webhooks that are refused for their time alone: then this machine's clock is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pipeline.ingest.events import Outcome, RequestEnded

ENOUGH: Final = 3
"""Refusals with none accepted in between. One may be a webhook that somebody recorded and sends again."""

FORGET_S: Final = 600.0
"""After so long without another refusal the process offers itself again: out of service it would never learn that the
clock is right by now."""

TAKEN: Final[frozenset[Outcome]] = frozenset({"accepted", "dead-lettered"})


class Timeliness:
    """An observer of the edge: what became of genuine webhooks. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._skew_s = 0.0
        self._at = 0.0

    def __call__(self, event: object) -> None:
        """Take in one event."""
        if not isinstance(event, RequestEnded):
            return
        if event.skew_s is not None:
            if self._clock() - self._at > FORGET_S:
                self._refused = 0
            self._refused, self._skew_s, self._at = self._refused + 1, event.skew_s, self._clock()
        elif event.outcome in TAKEN:
            self._refused = 0

    @property
    def trouble(self) -> str | None:
        """Why no webhook gets in, None when some do, or nothing is known."""
        if self._refused < ENOUGH or self._clock() - self._at > FORGET_S:
            return None
        side = "ahead" if self._skew_s < 0 else "behind"
        return (
            f"the last {self._refused} genuine webhooks were all refused for their time: this machine's clock is about "
            f"{abs(self._skew_s):.0f} s {side}; set it right (NTP)"
        )
