"""The watchdog remembers between questions."""

from __future__ import annotations

from dataclasses import replace

from faust.types import TP

from pipeline.watch.vitals import PartitionVitals, Vitals
from pipeline.watch.watchdog import Watchdog

PLACE = TP("operations", 1)
VITALS = Vitals("sink", False, False, 1, 2, places={PLACE: PartitionVitals(9, 0, 0, unread=4)})


def test_questions_are_beats() -> None:
    """Asking alone is enough: without any ticker the verdict turns when a partition stood still for the patience."""
    now = 0.0
    dog = Watchdog(lambda: VITALS, patience_s=20, clock=lambda: now)
    assert dog.live().ok
    now = 8.0
    assert dog.live().ok
    now = 16.0
    assert dog.live().ok
    now = 24.0
    assert not dog.live().ok
    assert dog.ready().ok


def test_recovers() -> None:
    """The verdict comes back with the first progress."""
    now, vitals = 0.0, VITALS
    dog = Watchdog(lambda: vitals, patience_s=5, clock=lambda: now)
    dog.beat()
    now = 6.0
    assert not dog.live().ok
    vitals = replace(VITALS, places={PLACE: PartitionVitals(9, 1, 0, unread=4)})
    assert dog.live().ok


def test_status_shows_everything() -> None:
    """The status names every vital sign, how long nothing moved, and how long the stage holds its records back."""
    now, vitals = 0.0, VITALS
    dog = Watchdog(lambda: vitals, clock=lambda: now)
    dog.beat()
    now, vitals = 1.0, replace(VITALS, holding="Customer.io takes nothing")
    dog.beat()
    now = 2.5
    assert dog.held_s() == 1.5
    assert dog.partitions()[PLACE].unfinished_s == 2.5
    assert dog.status() == {
        "stage": "sink",
        "stopping": False,
        "rebalancing": False,
        "generation": 1,
        "partitions": 2,
        "delivered": 0,
        "acknowledged": 0,
        "committed": 0,
        "attempts": 0,
        "unread": 4,
        "undelivered": 9,
        "uncommitted": 0,
        "waiting_for": None,
        "restoring": None,
        "holding": "Customer.io takes nothing",
        "fault": None,
        "lost": None,
        "gone": (),
        "clock": None,
        "heartbeat_age_s": None,
        "coordinator_away": False,
        "session_s": 10.0,
        "still_s": 2.5,
        "moved_s": 2.5,
        "held_s": 1.5,
        "outside_s": 0.0,
        "thread_silent_s": 0.0,
        "settling_s": 0.0,
    }
