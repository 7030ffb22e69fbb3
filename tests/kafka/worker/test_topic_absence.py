"""How long a topic was away, and how soon its records flowed again."""

from __future__ import annotations

from pipeline.kafka.worker.consumer_thread import COORDINATION_LOOK_S, TOPICS_LOOKS
from pipeline.kafka.worker.handover import COMMIT_S
from pipeline.kafka.worker.options import HEARTBEAT_S
from pipeline.kafka.worker.topic_absence import RESUMES_WITHIN_S, Absences, TopicReturn
from pipeline.kafka.worker.topic_watch import WITHIN_S


class Clock:
    """Seconds in the hand of the test."""

    now = 100.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


def test_the_bounds_add_up() -> None:
    """What must happen between a topic's return and its records, each at its limit, leaves room below the whole."""
    until_seen = COORDINATION_LOOK_S * TOPICS_LOOKS + WITHIN_S
    until_joined = HEARTBEAT_S + COMMIT_S
    assert until_seen + until_joined < RESUMES_WITHIN_S <= 15


def test_a_topic_that_goes_and_comes_back() -> None:
    """It is told once, when its records flow: how long it was missed, and how long it took from when it was last."""
    clock = Clock()
    absences = Absences(clock)
    assert absences.flowing({"a"}) == []
    absences.missed("a")
    clock.now = 130.0
    absences.missed("a")
    clock.now = 160.0
    absences.missed("a")
    clock.now = 162.5
    assert absences.flowing({"b"}) == []
    assert absences.flowing({"a", "b"}) == [TopicReturn("a", 60.0, 2.5)]
    assert absences.flowing({"a"}) == []


def test_a_topic_that_was_made_anew_between_two_looks() -> None:
    """It was missed for no time, and its records are counted from when the other one was seen."""
    clock = Clock()
    absences = Absences(clock)
    absences.missed("a")
    clock.now = 103.0
    assert absences.flowing({"a"}) == [TopicReturn("a", 0.0, 3.0)]
