"""What is told of a soak: lines, figures, and which of them are not flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.chaos.soak.sampling import QUANTITIES
from tests.chaos.soak.slopes import line


class Taken(NamedTuple):
    """The quantities of one stage at a moment."""

    at_s: float
    stage: str
    values: Mapping[str, float]


def figures(taken: Sequence[Taken]) -> list[dict[str, Any]]:
    """A row for each stage and quantity; `flat` is None where growth is no fault."""
    rows: list[dict[str, Any]] = []
    for stage in dict.fromkeys(one.stage for one in taken):
        for quantity in QUANTITIES:
            points = [(one.at_s, one.values[quantity.name]) for one in taken
                      if one.stage == stage and quantity.name in one.values]  # fmt: skip
            if not points:
                continue
            found = line([at for at, _ in points], [value for _, value in points])
            rows.append(
                {
                    "stage": stage,
                    "quantity": quantity.name,
                    "unit": quantity.unit,
                    "first": round(found.first, 1),
                    "last": round(found.last, 1),
                    "most": round(max(value for _, value in points), 1),
                    "per_hour": round(found.per_hour, 1),
                    "noise": round(found.noise, 1),
                    "flat": None if quantity.floor is None else found.is_flat(quantity.floor),
                }
            )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| stage | what | at first | at last | most | an hour | noise | flat |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        flat = {True: "yes", False: "no", None: "grows with the shop"}[row["flat"]]
        what = f"{row['quantity']} ({row['unit']})" if row["unit"] else row["quantity"]
        numbers = " | ".join(f"{row[name]:,}" for name in ("first", "last", "most", "per_hour", "noise"))
        lines.append(f"| {row['stage']} | {what} | {numbers} | {flat} |")
    return "\n".join(lines) + "\n"
