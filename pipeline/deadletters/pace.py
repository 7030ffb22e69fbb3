"""How fast letters go back: an even pace, with the clock passed in."""

from __future__ import annotations

from typing import Final

LARGEST_CHUNK: Final = 500
"""Letters between two answers to Ctrl-C; what a crash in between may put back twice."""

CHUNK_S: Final = 0.1
"""Letters of so long go together: seldom enough to cost little, often enough to be an even pace downstream."""


def chunk_size(per_second: float) -> int:
    """How many letters are sent together at this rate."""
    return max(1, min(LARGEST_CHUNK, int(per_second * CHUNK_S)))


class Pace:
    """In any stretch of time no more than `per_second` letters a second, and one chunk.

    What an outage held up is not caught up with afterwards: the pipeline is just then at its busiest.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next_s = float("-inf")

    def wait_s(self, letters: int, now_s: float) -> float:
        """Seconds from `now_s` until `letters` may go, which are then taken as sent."""
        start_s = max(self._next_s, now_s)
        self._next_s = start_s + letters / self._per_second
        return start_s - now_s
