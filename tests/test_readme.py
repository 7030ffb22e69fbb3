"""The README says only what is true: its commands, settings, targets and metrics exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import build
from pipeline.cli.metrics import every_series
from pipeline.kafka.rights import COMMANDS, STAGES, rights_of, united
from pipeline.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_named_settings_exist() -> None:
    """Every PIPELINE_ variable in the README is a setting."""
    named = {name.removesuffix("_FILE") for name in re.findall(rf"{PREFIX}[A-Z_]+", README)} - {PREFIX}
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert len(named) > 5
    assert named <= known


def test_named_commands_exist() -> None:
    """Every `dodo-cio` command in the README is one."""
    commands = set(getattr(get_command(build()), "commands"))  # noqa: B009 - typer's own group type is private
    named = set(re.findall(r"dodo-cio ([a-z][a-z-]+)", README))
    assert len(named) > 8
    assert named <= commands


def test_named_targets_exist() -> None:
    """Every `make` target in the README is one."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)) <= targets


def _named_series() -> list[str]:
    table = README[README.index("| series (prefix") : README.index("Alert on")]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    return sorted({name for cell in first_cells for name in re.findall(r"`([a-z_]+)[`{]", cell)})


@cache
def _shown_series() -> frozenset[str]:
    return frozenset(one.name for one in every_series())


@pytest.mark.parametrize("name", _named_series())
def test_named_series_exist(name: str) -> None:
    """Every series in the README's table is shown by a stage under that name."""
    assert f"dodo_cio_{name}" in _shown_series()


def test_the_rights_are_those_that_are_asked_for() -> None:
    """The README's table has what the start checks ask for and `topics render` prints, and nothing else."""
    settings = Settings.load()
    for who in (*STAGES, *COMMANDS):
        rights = united(rights_of(who, settings))
        told = "; ".join(
            f"{', '.join(operation.word for operation in operations)} on {kind} `{name}`"
            for (kind, name), operations in rights.items()
        )
        assert f"| `dodo-cio {who}` | {told} |" in README
