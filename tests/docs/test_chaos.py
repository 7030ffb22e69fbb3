"""docs/chaos.md says of every kind of fault what is done, and shows a season as it was."""

from __future__ import annotations

import orjson
import pytest

from tests.chaos.season.catalogue import KINDS, Kind
from tests.chaos.season.timeline import picture
from tests.docs.pages import DOCS

PAGE = (DOCS / "chaos.md").read_text(encoding="utf-8")
SEASON = orjson.loads((DOCS / "chaos.json").read_bytes())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_told(kind: Kind) -> None:
    """By its name, in the words of the catalogue."""
    assert f"| {kind.name} | {kind.says} |" in PAGE


def test_the_picture_is_of_the_season() -> None:
    """Drawn from the numbers that are kept, of a run that kept every promise."""
    assert picture(SEASON).strip() in (DOCS / "chaos.svg").read_text(encoding="utf-8")
    assert SEASON["violations"] == []


def test_the_page_tells_the_season_that_it_shows() -> None:
    """Its seed, by which it can be had again, and its size."""
    assert f"SEED={SEASON['seed']} FAULTS={len(SEASON['faults'])} WEBHOOKS={SEASON['webhooks']}" in PAGE
