"""Throttled answers are counted, and a spell of them is told once."""

from __future__ import annotations

from types import SimpleNamespace

from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from structlog.testing import capture_logs

from pipeline.kafka.throttling import QUIET_S, Throttling


class Clock:
    """Seconds as the test wants them."""

    now = 1000.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def answer(ms: int) -> SimpleNamespace:
    """A broker's, with a throttle time."""
    return SimpleNamespace(throttle_time_ms=ms)


PRODUCE = ProduceRequest(transactional_id=None, required_acks=-1, timeout=1, topics=[])
FETCH = FetchRequest(1, 1, 1, 0, [])
METADATA = MetadataRequest([])


def test_a_spell() -> None:
    """Told when it begins and when it is over; answers in between that are not throttled do not end it."""
    clock = Clock()
    throttling = Throttling(clock)
    with capture_logs() as said:
        throttling.answered(PRODUCE, answer(0), "dodo-cio")
        for ms in (250, 0, 500):
            throttling.answered(PRODUCE, answer(ms), "dodo-cio")
            clock.now += 1
        throttling.answered(FETCH, answer(1250), "dodo-cio")
        clock.now += QUIET_S
        throttling.answered(METADATA, answer(0), "dodo-cio")
        assert len(said) == 1
        clock.now += 1
        throttling.answered(METADATA, answer(0), "dodo-cio")
    assert [one["log_level"] for one in said] == ["warning", "info"]
    assert (said[0]["request"], said[0]["client_id"], said[0]["throttle_ms"]) == ("produce", "dodo-cio", 250)
    assert (said[1]["seconds"], said[1]["throttled_seconds"]) == (3.0, 2.0)
    assert throttling.seconds == {"produce": 0.75, "fetch": 1.25, "other": 0.0}


def test_another_spell_at_once() -> None:
    """A throttled answer after a long quiet ends the spell before it and begins another."""
    clock = Clock()
    throttling = Throttling(clock)
    with capture_logs() as said:
        throttling.answered(METADATA, answer(100), "a")
        clock.now += QUIET_S + 1
        throttling.answered(METADATA, answer(100), "a")
    assert [one["log_level"] for one in said] == ["warning", "info", "warning"]
    assert throttling.seconds["other"] == 0.2


def test_an_answer_without_the_field() -> None:
    """The oldest versions of requests do not tell: that is no spell, and no error."""
    throttling = Throttling()
    with capture_logs() as said:
        throttling.answered(METADATA, SimpleNamespace(), "a")
    assert said == []
