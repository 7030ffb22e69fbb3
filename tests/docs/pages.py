"""The pages of this project: which there are, and which of them are written from code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pipeline.cli.metrics import metrics_page
from tests.docs.mapping_page import mapping_page
from tests.docs.operating_page import kafka_page, limits_page, operating_page
from tests.docs.settings_page import settings_page
from tests.docs.soak_page import soak_page
from tests.docs.stock_faust_page import stock_faust_page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"


MADE: Final[Mapping[str, Callable[[], str]]] = {
    "kafka.md": kafka_page,
    "limits.md": limits_page,
    "mapping.md": mapping_page,
    "metrics.md": metrics_page,
    "operating.md": operating_page,
    "settings.md": settings_page,
    "soak.md": soak_page,
    "stock-faust.md": stock_faust_page,
}
"""By page, what writes it, or parts of it."""


def pages() -> list[Path]:
    """Every Markdown page that people read."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


def write_pages() -> None:
    """Write every page that is made from code."""
    for name, make in MADE.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
