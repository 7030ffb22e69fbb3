"""Both sides of a scene, and the table of all scenes at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from pipeline.settings import Settings
from tests.chaos.conftest import Fleet
from tests.chaos.stock_faust.catalogue import LOSSES
from tests.chaos.stock_faust.side import Outcome, Side
from tests.chaos.stock_faust.table import plain

Tell = Callable[[str, Outcome, Outcome], None]


@pytest.fixture
async def sides(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> AsyncIterator[tuple[Side, Side]]:
    """Stock Faust and ours, each with topics of one partition."""
    made = []
    for name in ("stock", "ours"):
        settings = await chain_settings(partitions=1, data_dir=tmp_path / name / "data")
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(Side(Fleet(settings, environment(settings), tmp_path / name), name == "stock"))
    yield made[0], made[1]
    for side in made:
        side.fleet.end()


@pytest.fixture(scope="module")
def tell() -> Iterator[Tell]:
    """Takes what both sides came to; the table is printed at the end, and kept in CHAOS_REPORT, where that is given."""
    told: dict[str, dict[str, str]] = {}

    def take(scene: str, stock: Outcome, ours: Outcome) -> None:
        told[scene] = {"stock": str(stock), "ours": str(ours)}

    yield take
    print(f"\n{plain(told)}")  # noqa: T201 - what the command is for
    if directory := os.environ.get("CHAOS_REPORT"):
        keep(Path(directory) / "stock-faust.json", told)


def keep(file: Path, told: Mapping[str, Mapping[str, str]]) -> None:
    """Write what was told into the file, beside the scenes that were not played this time."""
    before: dict[str, Mapping[str, str]] = orjson.loads(file.read_bytes()) if file.exists() else {}
    kept = {**before, **told}
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = {name: kept[name] for name in LOSSES if name in kept}
    file.write_bytes(orjson.dumps(ordered, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
