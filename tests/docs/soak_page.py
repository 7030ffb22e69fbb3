"""docs/soak.md is written by hand, but for the figures of a run, which `make soak` keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import orjson

from tests.chaos.soak.report import table

DOCS: Final = Path(__file__).parents[2] / "docs"
BLOCK: Final = re.compile(r"(<!-- made by `make docs` -->\n).*?(<!-- end -->\n)", re.DOTALL)


def soak_page() -> str:
    """The page as it is, with the table of the run that is kept."""
    kept = orjson.loads((DOCS / "soak.json").read_bytes())
    run = f"{kept['per_second']:,} webhooks a second for {kept['seconds'] / 60:g} minutes:"
    page = (DOCS / "soak.md").read_text(encoding="utf-8")
    return BLOCK.sub(lambda found: f"{found[1]}\n{run}\n\n{table(kept['rows'])}\n{found[2]}", page)
