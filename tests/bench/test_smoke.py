"""Each benchmark of our own parts still works; the figures of so little work mean nothing and are not looked at."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHMARKS, main
from tests.bench.figures import Figure
from tests.bench.plan import Run, Sizes
from tests.kafka.shared import SharedKafka

CONTENDERS = ("ours-state", "aiokafka")
"""Ours and a peer's kind, without the packages that only `.venv-bench` has: they are not in the development lock."""

PARTS = tuple(name for name in BENCHMARKS if name not in {"scale", "state", "rules", "rolling"})
"""The others are `transform` again, in other shapes, and what has its own (`test_rolling`)."""

COMPUTING = ("decision", "shapes", "batcher", "lanes", "recipes", "traces")
"""They hold the event loop: beside them a client would miss the broker's answer."""


@pytest.mark.kafka
async def test_parts(kafka: SharedKafka, tmp_path: Path) -> None:
    """Every part runs to its end, and its own checks of what arrived hold; most at once, since nothing is timed."""
    run = Run(kafka, tmp_path, Sizes.smoke(), contenders=CONTENDERS)
    found: dict[str, list[Figure]] = {}

    async def measure(name: str) -> None:
        found[name] = await importlib.import_module(f"tests.bench.{name}").measure(run)

    for name in COMPUTING:
        await measure(name)
    async with asyncio.TaskGroup() as group:
        for name in PARTS:
            if name not in COMPUTING:
                group.create_task(measure(name), name=name)
    for name in PARTS:
        assert {figure.benchmark for figure in found[name]} == {name}
    nothing_allowed = [figure for figures in found.values() for figure in figures if figure.at_most == 0]
    assert "ours, real mapping and state, records out of place" in {figure.name for figure in nothing_allowed}
    assert [figure for figure in nothing_allowed if figure.value] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nothing-like-it"], "nothing-like-it"),
        (["--contenders", "nobody"], "nobody"),
        (["--records", "0"], "--records"),
        (["--rounds", "many"], "many"),
    ],
)
def test_unusable_arguments(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that means nothing ends with exit code 2 and says which it was, before anything is started."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert named in capsys.readouterr().err
