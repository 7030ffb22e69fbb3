"""Pace: when the next request of one sink may leave, so that no second of arrivals ever has too many.

A pure function of times that are passed in.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

JITTER_S: Final = 0.02
"""How much sooner than the one before it a request may arrive, as measured from when they left: an open connection
against a new one, a busy loop between the turn and the socket. A second of arrivals is kept by 1.02 s of departures."""

WINDOW_S: Final = 1.0 + JITTER_S

CATCH_UP_S: Final = 0.02
"""How late a request may leave without delaying the one after it. Loops count in milliseconds and are busy for some,
at 1,000 requests per second one is due each; a longer pause is not made up for."""

SETTLE_S: Final = CATCH_UP_S + JITTER_S
"""Added to the interval before the first request under a new share: what the partitions' former owners may have caught
up with, or have on the way, still belongs to the old second."""

ROUNDING: Final = 1e-9
"""A share of 20.0 computed as 19.999… is 20."""


class Pace:
    """When the next request may leave, by a clock that is passed in.

    Slots are an interval apart. A request that leaves up to `CATCH_UP_S` late does not move the slots behind it, so
    late timers cost no rate; and whatever was caught up with, no `WINDOW_S` ever has more than the rate rounded down
    and one.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._from = -math.inf
        self._left: deque[float] = deque()

    def restart(self, per_second: float, now: float) -> None:
        """The share is another one: the first request of it comes one interval, and `SETTLE_S`, from now."""
        self.per_second = per_second
        self._from = max(self._from, now + SETTLE_S)

    def due(self) -> float:
        """The moment from which on a request may leave."""
        most = math.floor(self.per_second + ROUNDING) + 1
        due = self._from + 1.0 / self.per_second
        return max(due, self._left[-most] + WINDOW_S) if len(self._left) >= most else due

    def leave(self, now: float) -> None:
        """A request leaves; not before it is due."""
        self._from = max(self._from + 1.0 / self.per_second, now - CATCH_UP_S)
        self._left.append(now)
        while self._left[0] <= now - WINDOW_S:
            self._left.popleft()

    def used(self, now: float, within_s: float = 1.0) -> int:
        """Requests that left in the last `within_s`, a window at most."""
        return sum(left > now - within_s for left in self._left)
