"""What a benchmark found.

So little work that a clock did not move, or nothing came, has no figure: `math.nan`, shown as such, which keeps no
bound and misses none. Whatever divides by something measured does it by `per`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self


def per(amount: float, units: float) -> float:
    """`amount` for each of `units`; not a number without units."""
    return amount / units if units > 0 else math.nan


def median(values: Iterable[float]) -> float:
    """Of those that are numbers; not a number when none is."""
    measured = [value for value in values if not math.isnan(value)]
    return statistics.median(measured) if measured else math.nan


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; not a number of fewer than two."""
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else math.nan


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, with the bound that it should keep if there is one.

    `low` and `high` are the extremes of the rounds of which `value` is the median.
    """

    benchmark: str
    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(
        cls,
        benchmark: str,
        name: str,
        rounds: Sequence[float],
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Self:
        """The median of several rounds, with their spread."""
        measured = [value for value in rounds if not math.isnan(value)]
        low, high = (min(measured), max(measured)) if len(measured) > 1 else (None, None)
        return cls(benchmark, name, median(measured), unit, at_least, at_most, low, high)

    @property
    def is_within(self) -> bool | None:
        """Whether it keeps its bound; None without one, and when nothing was measured."""
        if math.isnan(self.value):
            return None
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def spread_text(self) -> str:
        """The extremes as shown."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:,.{self.digits}f} to {self.high:,.{self.digits}f}"

    @property
    def digits(self) -> int:
        """Digits after the point that mean something."""
        return 0 if self.value >= 1000 else 2 if self.value < 100 else 1

    @property
    def value_text(self) -> str:
        """The number as shown."""
        if math.isnan(self.value):
            return "not measured"
        return f"{self.value:,.{self.digits}f} {self.unit}"

    @property
    def bound_text(self) -> str:
        """The bound as shown."""
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}"
        return "" if self.at_most is None else f"≤ {self.at_most:,g}"

    @property
    def verdict(self) -> str:
        """`ok`, `missed`, or nothing."""
        return {True: "ok", False: "missed", None: ""}[self.is_within]

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        value = None if math.isnan(self.value) else self.value
        return {**asdict(self), "value": value, "within": self.is_within}
