"""The rate of a count, from its values at several times."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 10.0
"""Short enough to show the end of a burst, long enough for a steady figure."""


class Rate:
    """Keeps the values of the last seconds; the first value after a pause gives no rate rather than an old one."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, at_s: float, count: int) -> float | None:
        """Add the value `count` at monotonic `at_s`; return the rate over the window, None without an earlier value."""
        seen = self._seen
        if seen and count < seen[-1][1]:
            seen.clear()
        while seen and at_s - seen[0][0] > WINDOW_S:
            seen.popleft()
        rate = None
        if seen and at_s > seen[0][0]:
            rate = (count - seen[0][1]) / (at_s - seen[0][0])
        seen.append((at_s, count))
        return rate
