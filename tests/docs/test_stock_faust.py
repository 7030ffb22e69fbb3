"""docs/stock-faust.md shows every scene, of a run in which ours lost nothing."""

from __future__ import annotations

import orjson

from tests.chaos.stock_faust.catalogue import LOSSES
from tests.docs.pages import DOCS


def test_every_scene_is_told() -> None:
    """None was left out of the run that the page shows, and in none did ours lose a record."""
    outcomes = orjson.loads((DOCS / "stock-faust.json").read_bytes())
    assert list(outcomes) == list(LOSSES)
    assert [name for name, both in outcomes.items() if "nothing lost" not in both["ours"]] == []
