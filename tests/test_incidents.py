"""A row of failures is told when it begins and when it ends."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from pipeline import logs
from pipeline.incidents import MOST_LINES, Incident, insist


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


async def test_what_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done again after longer pauses, of which the last repeats, until it succeeds; a cancellation ends it."""
    pauses: list[float] = []
    heard: list[str] = []
    left = [OSError("a"), ValueError("b"), OSError("c"), OSError("d")]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        if left:
            raise left.pop(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with capture_logs() as told:
        await insist(work, Incident(logs.get("x"), "not yet", "at last"), (0.5, 2.0), lambda e: heard.append(str(e)))
    assert (pauses, heard) == ([0.5, 2.0, 2.0, 2.0], ["a", "b", "c", "d"])
    assert told[-1]["failed_attempts"] == 4

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await insist(cancelled, Incident(logs.get("x"), "not yet", "at last"), (0.5,))
