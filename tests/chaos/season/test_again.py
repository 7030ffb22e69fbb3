"""A season that was kept can be judged again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.season.again import keep, main
from tests.chaos.season.test_checker import season, slow_stop


def test_a_kept_season_is_judged_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One without a violation, and one with a violation, in words and by the exit code."""
    dice = random.Random(1)
    keep(season(dice, 3, 4), tmp_path)
    assert main(str(tmp_path)) == 0
    assert capsys.readouterr().out == "no violation\n"
    keep(slow_stop(season(dice, 3, 4), dice), tmp_path)
    assert main(str(tmp_path)) == 1
    assert "1 takeovers that came late" in capsys.readouterr().out
