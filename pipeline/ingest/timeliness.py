"""Notices genuine webhooks that are refused for their time alone: then this machine's clock is wrong.

Or somebody has recorded requests and sends them again, which must not take an ingest out of service. Dodo dates each
attempt with its own moment, so dates and arrivals go on at one pace, whatever this machine's clock says: an attempt is
as far from the one before by its date as by the monotonic clock. What stays behind the pace is of the past: a recorded
request stays behind any webhook that got in, and behind its own first repetition.

Only to a process that got no webhook in time yet may a recording look genuine, if it is sent as slowly as it came, and
for as long as it was recorded at most. Therefore what counts must go on for longer than the webhooks of a purchase or
the backlog of a minute do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from pipeline.ingest.events import RequestEnded

ENOUGH: Final = 3
"""Refusals of different dates with none in time in between."""

LASTS_S: Final = 120.0
"""For so long they must go on, by their dates and by their arrivals. Dodo's third attempt comes five minutes after the
second, so one webhook is enough to find a wrong clock."""

ALIKE_S: Final = 60.0
"""How far two attempts may be from the even pace: the way takes seconds, and so does a process that stands still."""

DRIFT: Final = 1e-3
"""By which part of the time since then the pace may be wrong: NTP bends the monotonic clock by 0.0005 at most, and one
that nobody sets is better. What a right clock refuses is five minutes old or more: that leaves room for days without a
webhook."""

FORGET_S: Final = 600.0
"""After so long without another refusal the process offers itself again: out of service it would never learn that the
clock is right by now."""


class Timeliness:
    """An observer of the edge: what became of genuine webhooks. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._skew_s = 0.0
        self._at = 0.0
        self._first_s, self._first_at = 0, 0.0
        self._newest_s = 0
        self._pace_s, self._paced_at = -math.inf, 0.0  # by how much a date is ahead of the clock of this object

    def __call__(self, event: object) -> None:
        """Take in one event."""
        if not isinstance(event, RequestEnded) or event.dated_s is None:
            return
        now = self._clock()
        if event.skew_s is None:
            self._refused, self._newest_s = 0, event.dated_s
            self._pace_s, self._paced_at = event.dated_s - now, now
        else:
            self._untimely(event.dated_s, event.skew_s, now)

    def _untimely(self, dated_s: int, skew_s: float, now: float) -> None:
        pace_s = dated_s - now
        alike_s = ALIKE_S + DRIFT * (now - self._paced_at)
        if dated_s <= self._newest_s or pace_s < self._pace_s - alike_s:
            return  # recorded: a later moment was seen before
        if pace_s > self._pace_s + alike_s or now - self._at > FORGET_S:
            self._refused = 0  # what came before was recorded, or is long ago
        if self._refused == 0:
            self._first_s, self._first_at = dated_s, now
        self._refused += 1
        self._newest_s, self._skew_s, self._at = dated_s, skew_s, now
        if pace_s >= self._pace_s:  # the one that was on its way for the shortest time says it best
            self._pace_s, self._paced_at = pace_s, now

    @property
    def trouble(self) -> str | None:
        """Why no webhook gets in, None when some do, or nothing is known."""
        lasted_s = min(self._newest_s - self._first_s, self._at - self._first_at)
        if self._refused < ENOUGH or lasted_s < LASTS_S or self._clock() - self._at > FORGET_S:
            return None
        side = "ahead" if self._skew_s < 0 else "behind"
        return (
            f"the last genuine webhooks, {self._refused} or more, were all refused for their time: this machine's "
            f"clock is about {abs(self._skew_s):.0f} s {side}; set it right (NTP)"
        )
