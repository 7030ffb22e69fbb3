"""What a stage logs of dead letters."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from pipeline import logs
from pipeline.deadletters.logged import LOGGED, log_letters


@pytest.mark.parametrize("count", [0, 1, LOGGED, LOGGED + 1, 5_000])
def test_lines(count: int) -> None:
    """A line a letter up to the limit, then one that says how many more, and up to which record."""
    with capture_logs() as said:
        log_letters(logs.get("x"), range(count), lambda number: {"dlq_class": "unmappable", "source": f"t/0/{number}"})
    each = [one for one in said if one["event"] == "dead letter"]
    rest = [(one["records"], one["through"]) for one in said if one["event"] != "dead letter"]
    assert [one["source"] for one in each] == [f"t/0/{number}" for number in range(min(count, LOGGED))]
    assert rest == ([(count - LOGGED, f"t/0/{count - 1}")] if count > LOGGED else [])
    assert {one["log_level"] for one in said} <= {"warning"}
