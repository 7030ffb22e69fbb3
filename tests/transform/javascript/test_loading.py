"""Recipes beside other code: in a defined order, exchanged while the transform runs, never in contradiction."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.dodo import samples
from pipeline.errors import RulesError
from pipeline.settings import Settings
from pipeline.tasks import Tasks
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.loading import checked_shaper_of, shaper_of
from pipeline.transform.shaping.reloading import LiveShaper, ShaperLoaded
from pipeline.transform.shaping.types import Shaper
from pipeline.transform.verdicts import Delivery, Operations

NAMED = """function handler(webhook) {
  return {identifiers: {id: webhook.payload.data.customer.customer_id}, action: "event", name: "NAME"};
}
"""

HOOK = """from pipeline.transform.shaping import claims


@claims("credit.deducted")
def shape(webhook, default, known):
    return default._replace(events=tuple(event.renamed(f"{event.name}, by Python") for event in default.events))
"""


def put(folder: Path, name: str, event: str) -> None:
    """A recipe that calls the event so."""
    (folder / name).write_text(NAMED.replace("NAME", event), encoding="utf-8")


def names(shaper: Shaper) -> list[str | None]:
    """What the events of a payment are called at Customer.io."""
    verdict = map_body(samples.load("payment.succeeded"), Delivery("msg_1"), Policy(shaper=shaper))
    assert isinstance(verdict, Operations)
    return [operation.body.decode().split('"name":"')[1].split('"')[0] for operation in verdict.operations]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one recipe."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    put(folder, "a.js", "First")
    return folder


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's Python."""
    (tmp_path / "shop_of_recipes.py").write_text(HOOK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_of_recipes", raising=False)
    return "shop_of_recipes:shape"


def test_python_is_given_what_the_recipes_made(folder: Path, hook: str) -> None:
    """In this order, rules after both."""
    both = shaper_of(Settings.load(javascript=folder, transform=hook))
    assert both is not None
    assert names(both) == ["First, by Python"]
    alone = shaper_of(Settings.load(javascript=folder))
    assert alone is not None
    assert both.version.startswith(alone.version)


def test_two_claims_of_one_type_are_refused(folder: Path, hook: str) -> None:
    """A type that the default mapping does not tell is told by one of them: the start says which file it is."""
    put(folder, "credit.deducted.js", "Used")
    with pytest.raises(RulesError, match=r"both claim credit\.deducted: rename the file credit\.deducted\.js"):
        shaper_of(Settings.load(javascript=folder, transform=hook))


async def test_recipes_are_exchanged_while_the_transform_runs(folder: Path) -> None:
    """A changed file, a new one and one less are taken; a broken one is refused, and what was live stays."""
    settings = Settings.load(javascript=folder)
    shaper = checked_shaper_of(settings)
    assert shaper is not None
    told: list[object] = []
    live = LiveShaper(settings, shaper, Tasks(), told.append, look_s=3600.0)

    async def looks() -> list[str]:
        """What became of it once the files are at rest."""
        told.clear()
        await live.look()
        await live.look()
        return [one.outcome for one in told if isinstance(one, ShaperLoaded)]

    assert await looks() == []
    put(folder, "a.js", "Changed")
    assert await looks() == ["taken"]
    assert names(live.shaper) == ["Changed"]
    put(folder, "b.js", "New")
    assert await looks() == ["taken"]
    assert names(live.shaper) == ["Changed", "New"]
    (folder / "b.js").write_text("function handler(webhook) {", encoding="utf-8")
    assert await looks() == ["refused"]
    assert names(live.shaper) == ["Changed", "New"]
    (folder / "b.js").unlink()
    assert await looks() == ["taken"]
    assert names(live.shaper) == ["Changed"]
