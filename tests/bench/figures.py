"""What a benchmark found."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self


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
        low, high = (min(rounds), max(rounds)) if len(rounds) > 1 else (None, None)
        return cls(benchmark, name, statistics.median(rounds), unit, at_least, at_most, low, high)

    @property
    def is_within(self) -> bool | None:
        """Whether it keeps its bound; None without one."""
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
        return {**asdict(self), "within": self.is_within}
