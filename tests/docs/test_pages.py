"""Every page says only what is true: settings, targets, files and attributes exist, snippets print their text."""

from __future__ import annotations

import re
from pathlib import Path

import liquid
import pytest

from pipeline.settings import PREFIX, Settings
from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.vocabulary import PROFILE
from pipeline.transform.money import amount_of
from tests.docs.pages import DOCS, ROOT, pages

MIGRATION = (DOCS / "migration.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```liquid\n(.*?)```\n+```text\n(.*?)```", MIGRATION, re.DOTALL)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_named_settings_exist(page: Path) -> None:
    """Whoever copies one finds it."""
    named = {
        name.removesuffix("_FILE") for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))
    }
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_named_targets_exist(page: Path) -> None:
    """Every `make` target of a page is one."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    """A module or test that a page names is where it says."""
    named = re.findall(r"`((?:pipeline|tests|topics|docs)/[\w./-]+\.\w+)(?:::\w+)?`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_attributes_of_the_table_exist() -> None:
    """What is said to be sent here, is."""
    section = MIGRATION[MIGRATION.index("| the card sends") : MIGRATION.index("What the card wrote on the event")]
    table = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    named = {name for cells in table for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", cells[2])}
    events = {reference.event for reference in event_references()}
    attributes = {
        sent
        for known in (*(reference.attributes for reference in event_references()), dict(PROFILE))
        for one, attribute in known.items()
        for sent in attribute.named(one)
    }
    assert len(named) > 20
    assert {name for name in named if not name.startswith("total_spent_")} <= events | attributes


def test_three_locales() -> None:
    """Each prints 49.00 as its page says."""
    assert len(SNIPPETS) == 3
    amount = amount_of(4900, 2)
    for snippet, expected in SNIPPETS:
        event = {"payment_amount": amount.text, "payment_amount_value": amount.value, "currency": "USD"}
        assert liquid.Environment().from_string(snippet).render(event=event) == expected


@pytest.mark.parametrize(("minor", "printed"), [(900, "900원"), (49000, "49,000원"), (149000, "149,000원")])
def test_won(minor: int, printed: str) -> None:
    """The Korean snippet groups thousands, and invents no decimals."""
    snippet, _ = SNIPPETS[2]
    event = {"payment_amount": amount_of(minor, 0).text, "currency": "KRW"}
    assert liquid.Environment().from_string(snippet).render(event=event).strip() == printed
