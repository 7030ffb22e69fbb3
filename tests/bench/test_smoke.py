"""Each benchmark of our own parts still works; the figures of so little work mean nothing and are not looked at."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kafka.local import LocalKafka
from tests.bench.__main__ import BENCHMARKS, main
from tests.bench.plan import Run, Sizes

PARTS = tuple(name for name in BENCHMARKS if name not in {"transform", "scale"})

OWN_AND_RAW = ("ours-real", "aiokafka")
"""Both kinds of contender, without the packages that only `.venv-bench` has."""


@pytest.fixture
def smoke(kafka: LocalKafka, tmp_path: Path) -> Callable[..., Run]:
    """Builder of a run of the smallest sizes, on the session's broker."""
    return lambda *contenders: Run(kafka, tmp_path, Sizes.smoke(), contenders=contenders)


@pytest.mark.kafka
@pytest.mark.parametrize("name", PARTS)
async def test_part(smoke: Callable[..., Run], name: str) -> None:
    """It runs to its end, with figures, and its own checks of what arrived hold."""
    figures = await importlib.import_module(f"tests.bench.{name}").measure(smoke())
    assert figures
    assert {figure.benchmark for figure in figures} == {name}
    assert all(figure.value <= 0 for figure in figures if figure.at_most == 0), figures


@pytest.mark.kafka
async def test_transform(smoke: Callable[..., Run]) -> None:
    """Ours and a peer map every record, in order, and both have their figures."""
    from tests.bench.transform import measure

    found = {figure.name: figure for figure in await measure(smoke(*OWN_AND_RAW))}
    assert found["runs failed"].value == 0
    assert found["ours, real mapping, records at fault"].value == 0
    assert found["aiokafka, by hand"].value > 0


@pytest.mark.parametrize(
    "arguments", [["nothing-like-it"], ["--contenders", "nobody"], ["--records", "0"], ["--rounds", "many"]]
)
def test_unusable_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A word that means nothing ends with exit code 2 and says which it was, before anything is started."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert arguments[-1] in capsys.readouterr().err or arguments == ["--records", "0"]
