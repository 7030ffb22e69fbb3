"""What an operator reads while requests fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from pipeline.sink import trouble
from pipeline.sink.events import BatchClosed, BudgetShared, RequestEnded, RetryPlanned, SinkEvent
from pipeline.sink.trouble import Trouble

Virtual = Callable[[Any], Any]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What was logged."""
    journal = CapturingLogger()
    monkeypatch.setattr(trouble, "log", structlog.wrap_logger(journal, processors=[lambda _, __, event: ((), event)]))
    return journal


def failed(lane: int) -> SinkEvent:
    """A request that will be sent again."""
    return RetryPlanned(lane, 1, 1.0, "503 Service Unavailable")


def passed(lane: int) -> SinkEvent:
    """A request that was accepted."""
    return RequestEnded(lane, 1, 100, 1, "accepted", 200, 0.1)


def drawn(lane: int) -> SinkEvent:
    """A new batch."""
    return BatchClosed(lane, 1, 100, 0.1, "idle")


def tell(virtual: Virtual, *steps: tuple[float, SinkEvent], until: float = 600.0) -> None:
    """Let events happen at their times."""

    async def scenario() -> None:
        observed = Trouble()
        for at, event in steps:
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            observed.observe(event)
        await asyncio.sleep(until - asyncio.get_running_loop().time())
        observed.end()

    virtual(scenario())


def test_one_line_and_one_with_the_count(virtual: Virtual, journal: CapturingLogger) -> None:
    """However many requests of however many lanes fail: one line at the second failure, one when all is quiet."""
    steps = [(float(at), failed(at % 8)) for at in range(300)] + [(300.0 + lane, passed(lane)) for lane in range(8)]
    tell(virtual, *steps)
    first, last = [call.kwargs for call in journal.calls]
    assert first["reason"] == "503 Service Unavailable"
    assert (last["failures"], last["lanes"], last["lasted_s"]) == (300, 8, 299.0)


def test_a_hiccup_is_not_told(virtual: Virtual, journal: CapturingLogger) -> None:
    """A request that fails once and then passes is in the series, not in the log."""
    tell(virtual, (1.0, failed(0)), (2.0, passed(0)), (200.0, failed(1)), (201.0, passed(1)))
    assert journal.calls == []


def test_a_success_in_between_is_not_the_end(virtual: Virtual, journal: CapturingLogger) -> None:
    """In a brown-out somebody passes every few seconds; it is one trouble until a minute is quiet."""
    steps = [(at * 20.0 + turn, failed(0) if turn else passed(0)) for at in range(20) for turn in (0, 1)]
    tell(virtual, *steps, (401.0, passed(0)))
    assert len(journal.calls) == 2


def test_who_waits_long_has_not_passed(virtual: Virtual, journal: CapturingLogger) -> None:
    """A lane that waits out a hold of minutes is still in trouble; one that draws a new batch is not."""
    tell(virtual, (1.0, failed(0)), (2.0, failed(0)), until=400.0)
    assert len(journal.calls) == 1
    tell(virtual, (1.0, failed(0)), (2.0, failed(0)), (300.0, drawn(0)), until=400.0)
    assert len(journal.calls) == 3


def test_whose_partitions_went_is_not_in_trouble(virtual: Virtual, journal: CapturingLogger) -> None:
    """What failed is another owner's after an assignment: the trouble ends though its lanes draw no batch any more."""
    once = [(1.0, failed(0)), (2.0, failed(1)), (3.0, BudgetShared(0, 4, 0.0))]
    tell(virtual, *once, *((at + 200.0, event) for at, event in once))
    assert len(journal.calls) == 4


def test_the_next_trouble_is_told_again(virtual: Virtual, journal: CapturingLogger) -> None:
    """After a quiet minute the count begins anew."""
    once = [(1.0, failed(0)), (2.0, failed(1)), (3.0, passed(0)), (3.0, passed(1))]
    tell(virtual, *once, *((at + 200.0, event) for at, event in once))
    assert [call.kwargs.get("failures") for call in journal.calls] == [None, 2, None, 2]
