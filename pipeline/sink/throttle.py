"""The throttle: how much of its share a sink uses after 429s, additive increase and multiplicative decrease (AIMD).

Customer.io's documented rate is "not strictly enforced", other senders spend the same workspace's, and a limit may be
lowered without notice. A 429 halves the factor, success adds back a twentieth a second. Its round trip is the second in
which limits are counted: what is sent in the second after a decrease meets the requests of the one before, so it proves
nothing about the new rate, and neither do answers to requests that left before it. The rules are those of Vector's
adaptive concurrency (https://github.com/vectordotdev/vector, `src/sinks/util/adaptive_concurrency`): one change a round
trip, never above what was asked for.

A sink with nothing to send has no success, and what a 429 said about its second is soon no longer true: after a minute
without one the clock adds back as much as successes would.

A pure function of times that are passed in; `tests/data/controller` holds its scenarios.
"""

from __future__ import annotations

import math
from typing import Final

HALF: Final = 0.5

STEP: Final = 0.05
"""Added back at each round trip with a success: from a half to all in ten seconds. Twice as fast, a limit that was
halved would be met, and refuse us, twice as often."""

FLOOR: Final = 1 / 32
"""Lowest factor, five 429s in a row: three requests a second of 100. Some must go out, or success could never show."""

ROUND_TRIP_S: Final = 1.0

STALE_S: Final = 60.0
"""After which a 429 says nothing about the rate of now. Lanes that are refused try again sooner, so nothing is added
back while refusals go on."""


class Throttle:
    """The factor of one sink, from `FLOOR` to 1."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._lowered_at = -math.inf
        self._raised_at = -math.inf

    def factor(self, now: float) -> float:
        """The factor of this moment."""
        if self._factor >= 1.0:
            return 1.0
        quiet_s = now - max(self._raised_at, self._lowered_at + STALE_S)
        return min(self._factor + STEP * max(quiet_s, 0.0) / ROUND_TRIP_S, 1.0)

    def refused(self, sent_at: float, now: float) -> bool:
        """A request of `sent_at` was answered 429; whether the factor changed."""
        if sent_at < self._lowered_at + ROUND_TRIP_S:
            return False
        before = self.factor(now)
        self._factor = max(before * HALF, FLOOR)
        self._lowered_at = self._raised_at = now
        return self._factor != before

    def passed(self, sent_at: float, now: float) -> bool:
        """A request of `sent_at` was a success; whether the factor changed."""
        before = self.factor(now)
        if before >= 1.0 or sent_at < self._lowered_at or now < self._raised_at + ROUND_TRIP_S:
            return False
        self._factor = min(max(before, self._factor + STEP), 1.0)
        self._raised_at = now
        return self._factor != before
