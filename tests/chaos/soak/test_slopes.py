"""A leak is seen in noise, and noise is no leak."""

from __future__ import annotations

import random

import pytest

from tests.chaos.soak.slopes import Line, line

TIMES = [10.0 * number for number in range(200)]


def measured(per_hour: float, noise: float, seed: int = 1) -> list[float]:
    """A hundred with a slope and noise."""
    dice = random.Random(seed)
    return [100 + per_hour * at / 3600 + dice.gauss(0, noise) for at in TIMES]


def test_an_exact_line() -> None:
    """Its ends and its slope, without the warm-up."""
    found = line(TIMES, measured(36, 0))
    assert found == pytest.approx(Line(105, 119.9, 36, 0))


@pytest.mark.parametrize("seed", range(20))
def test_a_leak(seed: int) -> None:
    """A rise by ten deviations is seen, whatever the dice say; the same without a slope is flat."""
    per_hour = 10 * 2.0 / (TIMES[-1] * 0.75 / 3600)
    assert not line(TIMES, measured(per_hour, 2.0, seed)).is_flat(0)
    assert line(TIMES, measured(0, 2.0, seed)).is_flat(0)


def test_growth_in_the_warm_up_is_no_leak() -> None:
    """What stands still from then on is flat."""
    values = [min(at, 0.2 * TIMES[-1]) for at in TIMES]
    assert line(TIMES, values).is_flat(0)


def test_what_falls_is_flat() -> None:
    """Memory that is given back is no fault."""
    assert line(TIMES, measured(-500, 1)).is_flat(0)


def test_a_small_step_is_below_the_floor() -> None:
    """One descriptor more is no leak."""
    values = [10.0] * 199 + [11.0]
    assert line(TIMES, values).is_flat(1)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few(count: int) -> None:
    """Through so few no line is drawn."""
    with pytest.raises(ValueError, match="too few"):
        line(TIMES[:count], TIMES[:count])
