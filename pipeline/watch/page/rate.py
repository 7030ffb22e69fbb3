"""How much is done in a second, between the looks at a count."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 10.0
"""Short enough to see a burst end, long enough for a figure that can be read."""


class Rate:
    """Remembers the looks of the last seconds; the first one in a while gets no figure rather than an old one."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, at_s: float, count: int) -> float | None:
        """The rate over the window, with a look at monotonic `at_s` that saw `count`; None with nothing to compare."""
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
