"""docs/operating.md says only what is true: its metrics exist, and its rights are those that are asked for."""

from __future__ import annotations

import re

import pytest

from pipeline.deadletters.advice import ADVICE
from pipeline.kafka.rights import COMMANDS, STAGES, rights_of, united
from pipeline.settings import Settings
from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "operating.md").read_text(encoding="utf-8")


def _sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("*.py"))


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
    """Every series of the table is registered somewhere under that name."""
    stem = name.removesuffix("_total").removesuffix("_info")
    assert re.search(rf'"{stem}"', _sources()), name


def test_alerts_are_on_series_of_the_table() -> None:
    """Nobody alerts on what is not measured."""
    known = NAMED | {"ingest_dead_letters_total"}  # named in the row of the sink's dead letters, in words
    assert len(ALERTS) > 8
    assert {name for name in ALERTS if name.endswith("_total") or name in {"live", "held"}} <= known


def test_the_rights_are_those_that_are_asked_for() -> None:
    """The table has what the start checks ask for and `topics render` prints, and nothing else."""
    settings = Settings.load()
    for who in (*STAGES, *COMMANDS):
        rights = united(rights_of(who, settings))
        told = "; ".join(
            f"{', '.join(operation.word for operation in operations)} on {kind} `{name}`"
            for (kind, name), operations in rights.items()
        )
        assert f"| `dodo-cio {who}` | {told} |" in PAGE


def test_every_class_of_dead_letter_has_its_advice() -> None:
    """What the page advises is what `dodo-cio dlq` does."""
    for class_, advice in ADVICE.items():
        assert f"| `{class_}` | {advice} |" in PAGE
