"""A row of failures is told when it begins and when it ends."""

from __future__ import annotations

from structlog.testing import capture_logs

from pipeline import logs
from pipeline.incidents import MOST_LINES, Incident


def test_one_line_each() -> None:
    """A thousand failures with the same words are one line, other words are one more, and the end says how many."""
    now = 0.0
    with capture_logs() as told:
        incident = Incident(logs.get("x"), "not yet", "at last", clock=lambda: now, topic="a")
        for _ in range(1000):
            incident.failed(ConnectionError("refused"))
            incident.failed(TimeoutError())
            now += 0.5
        incident.succeeded()
        incident.succeeded()
    assert [(line["event"], line["topic"], line["log_level"]) for line in told] == [
        ("not yet", "a", "warning"),
        ("not yet", "a", "warning"),
        ("at last", "a", "info"),
    ]
    assert "refused" in told[0]["error"]
    assert "TimeoutError" in told[1]["error"]
    assert (told[2]["seconds"], told[2]["failed_attempts"]) == (500.0, 2000)


def test_words_that_always_differ_are_no_flood() -> None:
    """A message with a number in it is told a few times, in each incident anew."""
    with capture_logs() as told:
        incident = Incident(logs.get("x"), "not yet", "at last")
        for _ in range(2):
            for number in range(100):
                incident.failed(OSError(f"port {number}"))
            incident.succeeded()
    assert len(told) == 2 * (MOST_LINES + 1)


def test_a_success_without_a_failure_is_no_news() -> None:
    """Nothing began."""
    with capture_logs() as told:
        Incident(logs.get("x"), "not yet", "at last").succeeded()
    assert not told
