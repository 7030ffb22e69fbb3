"""Every recipe of the cook-book is a file that passes its own tests; docs/python.md shows the tested package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.transform.shaping.rules.cases import beside, read, run
from pipeline.transform.shaping.rules.compiled import Rules
from pipeline.transform.shaping.rules.loading import load, load_text

ROOT = Path(__file__).parents[4]
DATA = ROOT / "tests" / "data" / "rules"
RECIPES = sorted(path for path in DATA.glob("*.yaml") if not path.name.endswith(".tests.yaml"))
PAGE = (ROOT / "docs" / "rules-cookbook.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_no_faults_and_becomes_what_its_cases_say(path: Path) -> None:
    """Not a warning either; and at least one of its cases is another than without rules."""
    loaded = load(path)
    assert loaded.warnings == ()
    cases = read(beside(path))
    results = run(cases, loaded.rules)
    assert [(result.case.name, result.differences) for result in results if not result.passed] == []
    bare = run(cases, load_nothing(path))
    assert any(with_rules.became != without.became for with_rules, without in zip(results, bare, strict=True))


def load_nothing(path: Path) -> Rules:
    """The shaper of a file without rules."""
    return load_text(b"rules: []", path).rules


def test_the_cook_book_has_every_recipe_word_for_word() -> None:
    """And no other."""
    shown = re.findall(r"```yaml\n(.*?)\n```", PAGE, re.DOTALL)
    assert sorted(shown) == sorted(path.read_text(encoding="utf-8").rstrip() for path in RECIPES)
    assert len(RECIPES) >= 15


def test_the_python_page_shows_the_tested_package() -> None:
    """Its first function is that of the example."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    source = (ROOT / "tests" / "transform" / "shaping" / "shop" / "hooks.py").read_text(encoding="utf-8")
    function = re.search(r"def shape\(.*?\n    return Shaped\(identify, events\)\n", source, re.DOTALL)
    assert function is not None
    assert function[0] in page
