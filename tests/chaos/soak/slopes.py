"""Whether a measured quantity is flat: its straight line through a soak rises by no more than its own noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

WARM_UP: Final = 0.25
"""Part of the run that is not judged: pools fill, caches grow to their bounds, the memory allocator finds its size."""

NOISE: Final = 3.0
"""Standard deviations around the line: of a quantity that only swings, one run in several hundred rises by as much."""


class Line(NamedTuple):
    """The straight line through what was measured, least squares.

    Attributes:
        first: where it begins.
        last: where it ends.
        per_hour: its slope.
        noise: standard deviation of what was measured around it.
    """

    first: float
    last: float
    per_hour: float
    noise: float

    def is_flat(self, floor: float) -> bool:
        """Whether it rises by no more than `floor`, or than its noise. To fall is no fault."""
        return self.last - self.first <= max(floor, NOISE * self.noise)


def line(at_s: Sequence[float], values: Sequence[float]) -> Line:
    """The line behind the warm-up; `at_s` rises.

    Raises:
        ValueError: fewer than three measurements are left, through which no line says anything.
    """
    begin = at_s[0] + WARM_UP * (at_s[-1] - at_s[0]) if at_s else 0.0
    kept = [(at, value) for at, value in zip(at_s, values, strict=True) if at >= begin]
    if len(kept) < 3:
        raise ValueError(f"{len(kept)} measurements are too few")
    mean_s, mean = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    spread = sum((at - mean_s) ** 2 for at, _ in kept)
    slope = sum((at - mean_s) * (value - mean) for at, value in kept) / spread
    around = [value - mean - slope * (at - mean_s) for at, value in kept]
    noise = math.sqrt(sum(one * one for one in around) / (len(kept) - 2))
    first, last = (mean + slope * (at - mean_s) for at in (kept[0][0], kept[-1][0]))
    return Line(first, last, slope * 3600, noise)
