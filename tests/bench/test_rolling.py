"""How long a partition stood still, from what came and went; and that a rolling restart can be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.plan import Run, Sizes
from tests.bench.rolling import STANDS_S, Passed, measure, stood
from tests.kafka.shared import SharedKafka


@pytest.mark.parametrize(
    ("waits", "seconds"),
    [
        ([], 0.0),
        ([(0, 0.1), (1, 1.0 + STANDS_S)], 0.0),
        ([(0, 5), (1, 5), (4.5, 5)], 5.0),
        ([(0, 5), (1, 6.5), (4.5, 5)], 6.5),
        ([(0, 5), (10, 12)], 7.0),
        ([(10, 12), (0, 5), (5, 7)], 9.0),
    ],
)
def test_a_second_counts_once(waits: list[tuple[float, float]], seconds: float) -> None:
    """Of webhooks that waited at the same time, and of those alone that waited longer than a moment."""
    passed = [Passed(0, came, went) for came, went in waits]
    assert stood([*passed, Passed(1, 0, 100)], 0) == pytest.approx(seconds)


@pytest.mark.kafka
async def test_a_small_one(kafka: SharedKafka, tmp_path: Path) -> None:
    """Both ways run to their end, and every webhook has its operations; the figures of so little are not looked at."""
    figures = await measure(Run(kafka, tmp_path, Sizes.smoke()))
    assert [figure.value for figure in figures if figure.at_most == 0] == [0, 0]
    assert len(figures) == 12
