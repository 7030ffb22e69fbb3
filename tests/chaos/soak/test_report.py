"""The figures of a soak tell a leak from what may grow."""

from __future__ import annotations

from tests.chaos.soak.report import Taken, figures, table


def test_figures() -> None:
    """Memory that rises is not flat, descriptors that stand still are, and mirrors may grow."""
    taken = [
        Taken(60.0 * minute, "transform", {"memory": 100.0 + minute, "descriptors": 30.0, "mirrors": 2.0 * minute})
        for minute in range(120)
    ]
    rows = {row["quantity"]: row for row in figures(taken)}
    assert {name: row["flat"] for name, row in rows.items()} == {"memory": False, "descriptors": True, "mirrors": None}
    assert (rows["memory"]["per_hour"], rows["memory"]["first"], rows["memory"]["last"]) == (60.0, 130.0, 219.0)
    shown = table(list(rows.values()))
    assert "| transform | memory (MB) | 130.0 | 219.0 | 219.0 | 60.0 | 0.0 | no |" in shown
    assert "| grows with the shop |" in shown
