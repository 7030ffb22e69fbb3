"""Refusals in the log: seen at once, and never more than one line of a kind in ten seconds."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from pipeline.ingest import journal
from pipeline.ingest.events import Outcome, RecordsStored, RequestEnded
from pipeline.ingest.journal import QUIET_S, Journal


@pytest.fixture(autouse=True)
def _fresh_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no earlier test's configuration was cached in."""
    monkeypatch.setattr(journal, "log", structlog.get_logger())


class Clock:
    """Seconds that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def _ended(outcome: Outcome, status: int = 401) -> RequestEnded:
    return RequestEnded(outcome, status, 0.001, reason="why")


def test_the_first_is_told_at_once_and_the_rest_counted() -> None:
    """Thousands of forged requests are one line, and the next line says how many were left out."""
    clock = Clock()
    watch = Journal(clock)
    with capture_logs() as lines:
        for _ in range(1000):
            watch(_ended("forged"))
        clock.now = QUIET_S
        watch(_ended("forged"))
    assert [(line["outcome"], line["like_this_since_last"]) for line in lines] == [("forged", 0), ("forged", 999)]
    assert lines[0]["reason"] == "why"


def test_kinds_do_not_hide_each_other() -> None:
    """A flood of forged requests does not keep an outage out of the log."""
    watch = Journal(Clock())
    with capture_logs() as lines:
        for outcome in ("forged", "forged", "unavailable", "dead-lettered"):
            watch(_ended(outcome))
    assert [line["outcome"] for line in lines] == ["forged", "unavailable", "dead-lettered"]


@pytest.mark.parametrize(
    "event", [_ended("accepted", 200), _ended("client-gone", 0), RecordsStored("w", (0.1,)), object()]
)
def test_the_ordinary_is_not_told(event: Any) -> None:
    """Accepted webhooks and what is no ended request make no line."""
    with capture_logs() as lines:
        Journal(Clock())(event)
    assert lines == []
