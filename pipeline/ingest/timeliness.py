"""Notices genuine webhooks that are refused for their time alone: then this machine's clock is wrong.

Or somebody has recorded a request and sends it again, which must not take an ingest out of service. Dodo dates each
attempt with its own moment: seen by a clock that is wrong, attempts have new dates and are all wrong by as much. A
recorded request has the date that it had, and several of them are wrong by as much as they are old.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from pipeline.ingest.events import Outcome, RequestEnded

ENOUGH: Final = 3
"""Refusals of different dates with none accepted in between."""

NEXT_S: Final = 0.5
"""Attempts are dated in whole seconds: what is dated so much later than another one is of a later second."""

ALIKE_S: Final = 60.0
"""By how much the errors of two attempts may differ that one wrong clock shows: the way takes seconds, and a clock that
is being set right moves slowly."""

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
        self._newest = -math.inf

    def __call__(self, event: object) -> None:
        """Take in one event."""
        if not isinstance(event, RequestEnded):
            return
        if event.skew_s is not None:
            self._untimely(event.skew_s)
        elif event.outcome in TAKEN:
            self._refused, self._newest = 0, -math.inf

    def _untimely(self, skew_s: float) -> None:
        now = self._clock()
        if now - self._at > FORGET_S:
            self._refused, self._newest = 0, -math.inf
        dated = now + skew_s  # by the clock of this object, which goes on evenly
        if dated < self._newest + NEXT_S:
            return
        self._refused = self._refused + 1 if abs(skew_s - self._skew_s) <= ALIKE_S else 1
        self._newest, self._skew_s, self._at = dated, skew_s, now

    @property
    def trouble(self) -> str | None:
        """Why no webhook gets in, None when some do, or nothing is known."""
        if self._refused < ENOUGH or self._clock() - self._at > FORGET_S:
            return None
        side = "ahead" if self._skew_s < 0 else "behind"
        return (
            f"the last genuine webhooks, {self._refused} or more, were all refused for their time: this machine's "
            f"clock is about {abs(self._skew_s):.0f} s {side}; set it right (NTP)"
        )
