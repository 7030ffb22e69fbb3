"""An observer that fails is nobody's business but the log's and a counter's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from pipeline.observers import ObserverFailed, tell
from pipeline.watch.metrics import Metrics


@dataclass(frozen=True)
class Moved:
    """Something happened."""

    number: int


def failing() -> Callable[[object], None]:
    """A new observer that raises over whatever it is told."""

    def raises(event: object) -> None:
        raise ZeroDivisionError(event)

    raises.__qualname__ = f"raises {id(raises)}"
    return raises


def test_the_others_hear_of_it() -> None:
    """Whoever comes after one that raises is told all the same, and nothing reaches the teller."""
    heard: list[object] = []
    tell([failing(), heard.append], Moved(1))
    assert heard == [ObserverFailed("Moved"), Moved(1)]


def test_failures_are_counted_by_event() -> None:
    """The registry that observes counts the failures of others, and of its own handlers."""
    metrics = Metrics("sink")

    def broken(event: Moved) -> None:
        raise KeyError(event.number)

    metrics.on(Moved, broken)
    tell([failing(), metrics], Moved(1))
    tell([metrics], Moved(2))
    value = metrics.registry.get_sample_value("dodo_cio_observer_failures_total", {"event_class": "Moved"})
    assert value == 3


def test_the_log_is_not_filled() -> None:
    """One that fails over every record is logged at the first, second, fourth … time, with its name and its error."""
    broken = failing()
    with capture_logs() as lines:
        for number in range(100):
            tell([broken], Moved(number))
    said = [line for line in lines if line["event"] == "An observer failed" and line["event_class"] == "Moved"]
    assert [line["failures"] for line in said] == [1, 2, 4, 8, 16, 32, 64]
    assert said[0]["observer"] == broken.__qualname__
    assert isinstance(said[0]["exc_info"], ZeroDivisionError)


def test_a_process_that_ends_is_not_held() -> None:
    """What is no error of an observer, such as an exit, passes."""

    def leaving(_: object) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        tell([leaving], Moved(1))
