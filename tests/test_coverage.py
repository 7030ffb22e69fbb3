"""What `make coverage` measures is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]["run"]


def test_rooms_are_there() -> None:
    """A room that is renamed would go unmeasured without a word."""
    assert [room for room in RUN["source"] if not (ROOT / room / "__init__.py").is_file()] == []


def test_what_is_left_out_is_there() -> None:
    """Each pattern still names a module of a measured room."""
    assert [pattern for pattern in RUN["omit"] if not any(ROOT.glob(pattern))] == []
    unmeasured = [one for one in RUN["omit"] if "*" not in one and not one.startswith(tuple(RUN["source"]))]
    assert unmeasured == []
