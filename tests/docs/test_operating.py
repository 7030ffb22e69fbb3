"""docs/operating.md says only what is true: its metrics exist, and the tables of both pages are made."""

from __future__ import annotations

import re
from functools import cache

import pytest

from pipeline.cli.metrics import every_series
from tests.docs.operating_page import BLOCK, TABLES
from tests.docs.pages import DOCS

PAGE = (DOCS / "operating.md").read_text(encoding="utf-8")


@cache
def _shown_series() -> frozenset[str]:
    return frozenset(one.name for one in every_series())


def _table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its titles."""
    section = PAGE[PAGE.index(f"\n## {heading}\n") :].split("\n## ")[1]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in rows[2:]]


def _series(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)[`{]", cell)}


NAMED = _series([row[0] for row in _table("Metrics")])
ALERTS = {
    name for row in _table("Alerts") for name in re.findall(r"\b([a-z]+(?:_[a-z]+)+|live|held)\b(?= |`|\{|\))", row[0])
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_named_series_exist(name: str) -> None:
    """Every series of the table is shown by a stage under that name."""
    assert f"dodo_cio_{name}" in _shown_series()


def test_alerts_are_on_series_that_exist() -> None:
    """Nobody alerts on what is not measured."""
    assert len(ALERTS) > 8
    assert {name for name in ALERTS if f"dodo_cio_{name}" not in _shown_series()} == set()


@pytest.mark.parametrize("page", TABLES)
def test_tables_that_repeat_the_code_are_made(page: str) -> None:
    """Exit codes, dead letters, topics and rights are written by `make docs`; test_made_pages compares them."""
    assert [found[1] for found in BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))] == list(TABLES[page])
