"""Limits how fast letters are put back: an even rate, with the clock passed in."""

from __future__ import annotations

from typing import Final

LARGEST_CHUNK: Final = 500
"""Letters that are sent at once: Ctrl-C waits for that many, and a crash may put back that many twice."""

CHUNK_S: Final = 0.1
"""The letters of this time are sent at once: rarely enough to cost little, often enough to be an even rate."""


def chunk_size(per_second: float) -> int:
    """How many letters are sent together at this rate."""
    return max(1, min(LARGEST_CHUNK, int(per_second * CHUNK_S)))


class Pace:
    """Allows no more than `per_second` letters a second, and one chunk, over any period.

    Time that was lost in an outage is not made up for afterwards: the pipeline is busiest just then.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next_s = float("-inf")

    def wait_s(self, letters: int, now_s: float) -> float:
        """Seconds from `now_s` until `letters` may be sent; they are counted as sent."""
        start_s = max(self._next_s, now_s)
        self._next_s = start_s + letters / self._per_second
        return start_s - now_s
