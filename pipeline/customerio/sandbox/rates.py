"""Counts the requests of the last second, by arrival."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 1.0


@dataclass(slots=True)
class SlidingSecond:
    """Arrivals of the last second; `most` is the highest number so far."""

    most: int = 0
    _arrivals: deque[float] = field(default_factory=deque)

    def arrive(self, now_s: float) -> int:
        """Count an arrival at `now_s` (monotonic) and return how many the second that ends now has.

        A refused request counts too: a client that does not slow down stays refused.
        """
        arrivals = self._arrivals
        arrivals.append(now_s)
        while arrivals[0] <= now_s - WINDOW_S:
            arrivals.popleft()
        self.most = max(self.most, len(arrivals))
        return len(arrivals)
