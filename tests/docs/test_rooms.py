"""What a room says of itself leads the reader on: the modules that it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

ROOMS = sorted((ROOT / "pipeline").rglob("__init__.py"))


def _says(room: Path) -> str:
    return ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.parent.relative_to(ROOT).as_posix())
def test_the_next_module_is_there(room: Path) -> None:
    """`Open x next` names a module of the room."""
    for name in re.findall(r"Open `(\w+)` next", _says(room)):
        assert (room.parent / f"{name}.py").is_file() or (room.parent / name / "__init__.py").is_file(), name


@pytest.mark.parametrize(
    "room",
    [
        "kafka",
        "kafka/worker",
        "kafka/producer",
        "kafka/cluster",
        "kafka/local",
        "statestore",
        "transform/customers",
        "sink",
        "transform",
        "ingest",
        "deadletters",
    ],
)
def test_named_modules_are_there(room: str) -> None:
    """Every module that the docstring of a large room names is one of its modules."""
    folder = ROOT / "pipeline" / room
    named = set(re.findall(r"`([a-z][a-z_]+)`", _says(folder / "__init__.py")))
    assert {name for name in named if not (folder / f"{name}.py").is_file() and not (folder / name).is_dir()} == set()


def test_rooms_are_found() -> None:
    """The search has not gone blind."""
    assert len([room for room in ROOMS if "next" in _says(room)]) > 10
