"""The pictures of docs/: each is drawn from a text beside it, and says from which.

`architecture.svg` by D2 from `architecture.d2`; `demo.svg` is what `dodo-cio demo` printed of the run that `demo.json`
holds (`dodo-cio demo --json`); `chaos.svg` is the season that `chaos.json` holds (`make chaos SEED=n` with
`CHAOS_REPORT=docs`).
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from pipeline.demo.reconcile import Check
from pipeline.demo.report import Report, Speed, Step, show
from tests.chaos.season.timeline import picture as season_picture

DOCS: Final = Path(__file__).parents[2] / "docs"

SOURCES: Final[Mapping[str, str]] = {
    "architecture.svg": "architecture.d2",
    "demo.svg": "demo.json",
    "chaos.svg": "chaos.json",
}
"""By picture, the text that it is drawn from."""

SPACING: Final = ("--elk-nodeNodeBetweenLayers", "32", "--elk-edgeNodeBetweenLayers", "20")
"""Half of D2's own: the picture fits a screen."""

COLUMNS: Final = 124

_FONTS_ELSEWHERE: Final = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""Rich's pictures ask another site for their font; ours take the reader's own."""


def mark(source: Path) -> str:
    """The comment by which a picture says what it was drawn from."""
    return (
        f"<!-- Drawn by `make docs` from {source.name}, SHA-256 {hashlib.sha256(source.read_bytes()).hexdigest()} -->"
    )


def draw(d2: Path) -> None:
    """Draw all pictures; `d2` is D2's binary.

    Raises:
        subprocess.CalledProcessError: D2 does not take its source; it has said why.
    """
    _write("architecture.svg", _diagram(d2, DOCS / "architecture.d2"))
    _write("demo.svg", demo_picture(orjson.loads((DOCS / "demo.json").read_bytes())))
    _write("chaos.svg", season_picture(orjson.loads((DOCS / "chaos.json").read_bytes())))


def _write(picture: str, svg: str) -> None:
    declaration, end, rest = svg.partition("?>")
    head, body = (declaration + end, rest) if end else ("", svg)
    (DOCS / picture).write_text(f"{head}{mark(DOCS / SOURCES[picture])}\n{body.strip()}\n", encoding="utf-8")


def _diagram(d2: Path, source: Path) -> str:
    done = subprocess.run([d2, *SPACING, source, "-"], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def demo_picture(document: dict[str, Any]) -> str:
    """What `dodo-cio demo` prints of a run, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    show(_report(document), console)
    form = _FONTS_ELSEWHERE.sub("", CONSOLE_SVG_FORMAT)
    return console.export_svg(title="make demo", code_format=form, unique_id="demo")


def _report(document: dict[str, Any]) -> Report:
    journey = document["journey"]
    return Report(
        checks=[_check(**check) for check in document["checks"]],
        dropped=document["dropped"],
        held_back=document["held_back"],
        speed=Speed(**document["speed"]),
        customer=journey["customer"],
        journey=[Step(**step) for step in journey["steps"]],
        profile=journey["profile"],
    )


def _check(name: str, expected: Any, seen: Any, note: str, ok: bool) -> Check:
    """One row; JSON has lists where the report has pairs of a count and a sum."""
    check = Check(name, _pair(expected), _pair(seen), note)
    assert check.ok is ok
    return check


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
