"""docs/stock-faust.md is written by hand, but for the table of a run, which `make stock-faust` keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import orjson

from tests.chaos.stock_faust.table import table

DOCS: Final = Path(__file__).parents[2] / "docs"
BLOCK: Final = re.compile(r"(<!-- made by `make docs` -->\n).*?(<!-- end -->\n)", re.DOTALL)


def stock_faust_page() -> str:
    """The page as it is, with the table of the run that is kept."""
    outcomes = orjson.loads((DOCS / "stock-faust.json").read_bytes())
    page = (DOCS / "stock-faust.md").read_text(encoding="utf-8")
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(outcomes)}\n{found[2]}", page)
