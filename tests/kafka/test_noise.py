"""Floods are counted, our own errors are told once."""

from __future__ import annotations

import logging

import pytest

from pipeline.errors import TopicError
from pipeline.kafka.noise import BURST, WINDOW_S, FloodGate, PlainFaults, quieten


def line(
    name: str = "aiokafka.conn", text: str = "Unable connect to node %s", level: int = logging.ERROR, *args: object
) -> logging.LogRecord:
    """A log record."""
    return logging.LogRecord(name, level, "", 0, text, args or (1,), None)


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_flood_is_cut_and_counted() -> None:
    """The first lines of a kind pass, the next window's first line says how many were left out."""
    clock = Clock()
    gate = FloodGate(clock)
    assert [gate.filter(line()) for _ in range(100)].count(True) == BURST
    clock.now += WINDOW_S
    late = line()
    assert gate.filter(late)
    assert late.getMessage() == f"Unable connect to node 1 (and {100 - BURST} more like this)"
    assert gate.filter(line())


def test_kinds_do_not_hide_each_other() -> None:
    """Another message or another logger has its own count; arguments make no new kind."""
    gate = FloodGate(Clock())
    for number in range(10):
        gate.filter(line("aiokafka.conn", "Unable connect to node %s", logging.ERROR, number))
    assert not gate.filter(line("aiokafka.conn", "Unable connect to node %s", logging.ERROR, 99))
    assert gate.filter(line(text="Something else %s"))
    assert gate.filter(line("aiokafka.client"))


@pytest.mark.parametrize(("name", "level"), [("pipeline.kafka.app", logging.ERROR), ("aiokafka.conn", logging.INFO)])
def test_our_lines_and_harmless_ones_always_pass(name: str, level: int) -> None:
    """Only warnings and errors of the Kafka libraries come in floods."""
    gate = FloodGate(Clock())
    assert all(gate.filter(line(name, "said %s", level)) for _ in range(50))


def failed(error: Exception) -> logging.LogRecord:
    """What mode logs when a service crashed."""
    record = line("mode.services", "[^-App]: Crashed reason=%r", logging.ERROR, error)
    record.exc_info = (type(error), error, None)
    return record


def test_our_own_error_is_left_to_the_worker() -> None:
    """Mode's report of the crash is dropped, any other line about it loses the traceback; a bug keeps everything."""
    plain = PlainFaults()
    assert not plain.filter(failed(TopicError("topic a is missing")))
    other = failed(TopicError("topic a is missing"))
    other.msg = "Error while stopping child: %r"
    assert plain.filter(other)
    assert other.exc_info is None
    bug = failed(RuntimeError("a bug"))
    assert plain.filter(bug)
    assert bug.exc_info is not None


def test_handlers_are_filtered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quietening twice does not count twice."""
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    quieten()
    quieten()
    assert [type(known) for known in handler.filters] == [FloodGate, PlainFaults]
