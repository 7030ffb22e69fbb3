"""What a benchmark found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, with the bound that it should keep if there is one."""

    benchmark: str
    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_within(self) -> bool | None:
        """Whether it keeps its bound; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

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
