"""Floods are counted, our own errors are told once."""

from __future__ import annotations

import inspect
import logging

import pytest
from aiokafka import client
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.errors import (
    AuthenticationFailedError,
    NodeNotReadyError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
)
from aiokafka.producer import sender
from structlog.testing import capture_logs

from pipeline.errors import TopicError
from pipeline.kafka.noise import (
    ATTEMPTS,
    BURST,
    EXPIRED,
    ROUTINE,
    WINDOW_S,
    Endings,
    FloodGate,
    PlainFaults,
    quieten,
)
from pipeline.kafka.outage import AFTERMATH_S, Outage
from pipeline.kafka.reach import UNCONNECTED_LINE


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


@pytest.mark.parametrize(
    ("name", "level"), [("pipeline.kafka.worker.app", logging.ERROR), ("aiokafka.conn", logging.INFO)]
)
def test_our_lines_and_harmless_ones_always_pass(name: str, level: int) -> None:
    """Only warnings and errors of the Kafka libraries come in floods."""
    gate = FloodGate(Clock())
    assert all(gate.filter(line(name, "said %s", level)) for _ in range(50))


def test_an_outage_is_one_line_and_its_end_another() -> None:
    """Whatever the clients say meanwhile, of however many attempts; the first line has the reason."""
    clock = Clock()
    outage = Outage(clock)
    outage.watched = True
    gate = FloodGate(clock, outage)
    passed = 0
    with capture_logs() as told:
        for _ in range(60):
            refused = ConnectionRefusedError(111, "Connection refused")
            passed += gate.filter(line("aiokafka", UNCONNECTED_LINE, logging.ERROR, 1, refused))
            outage.refused("kafka:9092", others=0)
            for text in ATTEMPTS | ROUTINE | {EXPIRED}:
                passed += gate.filter(line("aiokafka.x", text, logging.ERROR, 1, NodeNotReadyError()))
            clock.now += 1.0
        outage.answered("kafka:9092")
        clock.now += AFTERMATH_S - 1.0
        passed += gate.filter(line("aiokafka.x", EXPIRED, logging.ERROR, 1))
    assert passed == 0
    begun, ended = told
    assert (begun["log_level"], begun["broker"]) == ("warning", "kafka:9092")
    assert "Connection refused" in begun["reason"]
    assert (ended["log_level"], ended["seconds"]) == ("info", 60.0)
    assert gate.filter(line("aiokafka.x", EXPIRED, logging.ERROR, 1)) is False
    clock.now += 2.0
    assert gate.filter(line("aiokafka.x", EXPIRED, logging.ERROR, 1))


def test_several_brokers_are_one_incident() -> None:
    """It ends when the last one answers, or was taken out of the cluster."""
    outage = Outage(Clock())
    with capture_logs() as told:
        outage.refused("a:1", others=2)
        outage.refused("b:1", others=2)
        outage.answered("a:1")
        outage.answered("a:1")
        assert len(told) == 1
        outage.known(["a:1", "c:1"])
        assert len(told) == 2
        outage.known(["a:1"])
        outage.answered("c:1")
        assert len(told) == 2
        outage.refused("a:1", others=1)
        assert len(told) == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (UNCONNECTED_LINE, AuthenticationFailedError("no")),
        ("Failed fetch messages from %s: %s", RuntimeError("a bug")),
        ("Got error produce response on topic-partition %s, retrying. Error: %s", NotEnoughReplicasError),
        ("Unexpected error in coordinator routine %s %s", NodeNotReadyError()),
    ],
)
def test_what_no_broker_mends_by_coming_back_is_still_told(text: str, error: object) -> None:
    """Refused credentials, missing replicas and bugs are lines of their own, in an outage too."""
    outage = Outage(Clock())
    outage.watched = True
    outage.refused("a:1", others=0)
    gate = FloodGate(Clock(), outage)
    assert [gate.filter(line("aiokafka", text, logging.ERROR, 1, error)) for _ in range(9)].count(True) == BURST


def test_a_leader_that_moves_is_no_news() -> None:
    """A rolling restart makes every producer ask again."""
    outage = Outage(Clock())
    outage.watched = True
    text = "Got error produce response on topic-partition %s, retrying. Error: %s"
    assert not FloodGate(Clock(), outage).filter(
        line("aiokafka.producer.sender", text, logging.WARNING, 1, NotLeaderForPartitionError)
    )


def test_the_lines_are_those_that_aiokafka_writes() -> None:
    """A message that changed would come through again."""
    code = "".join(inspect.getsource(module) for module in (client, fetcher, group_coordinator, sender))
    written = "".join(code.split()).replace('""', "")
    for text in ATTEMPTS | ROUTINE | {EXPIRED}:
        assert "".join(text.split()) in written


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


@pytest.mark.parametrize(
    ("text", "level", "written"),
    [
        ("[^--Consumer]: Stopping...", logging.INFO, False),
        ("[^Worker]: Closing event loop", logging.INFO, False),
        ("[^Worker]: Starting...", logging.INFO, True),
        ("Stopping...", logging.INFO, True),
        ("[^--Consumer]: Stopping...", logging.WARNING, True),
        ("[^--Consumer]: Stopping...", logging.DEBUG, True),
    ],
)
def test_services_that_stop(text: str, level: int, written: bool) -> None:
    """That each service stops is no line; whatever else is said is."""
    assert Endings().filter(logging.LogRecord("mode", level, "", 0, text, (), None)) == written


def test_handlers_are_filtered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quietening twice does not count twice."""
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    quieten()
    quieten()
    assert [type(known) for known in handler.filters] == [FloodGate, PlainFaults, Endings]
