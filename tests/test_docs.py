"""The pages under docs/ say only what is true: settings, commands and attributes exist, snippets print their text."""

from __future__ import annotations

import re
from pathlib import Path

import liquid
import pytest
from typer.main import get_command

from pipeline.cli import build
from pipeline.settings import PREFIX, Settings
from pipeline.transform.mapping.reference import event_references
from pipeline.transform.mapping.vocabulary import PROFILE
from pipeline.transform.money import amount_of

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / f"{name}.md" for name in ("campaigns", "javascript", "migration", "rules", "python")]
MIGRATION = (DOCS / "migration.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```liquid\n(.*?)```\n+```text\n(.*?)```", MIGRATION, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_settings_and_commands_exist(page: Path) -> None:
    """A marketer who copies one finds it."""
    text = page.read_text(encoding="utf-8")
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", text)) <= known
    commands = set(getattr(get_command(build()), "commands"))  # noqa: B009 - typer's own group type is private
    assert set(re.findall(r"`dodo-cio ([a-z][a-z-]+)", text)) <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Pages of this project that are linked are there."""
    for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), target


def test_the_attributes_of_the_table_exist() -> None:
    """What is said to be sent here, is."""
    table = [line.split("|") for line in MIGRATION.splitlines() if line.startswith("|")]
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
