"""The watchdog remembers between questions."""

from __future__ import annotations

from dataclasses import replace

from pipeline.watch.vitals import Vitals
from pipeline.watch.watchdog import Watchdog

VITALS = Vitals(stage="sink", stopping=False, rebalancing=False, generation=1, partitions=2, unread=9)


def test_questions_are_beats() -> None:
    """Asking alone is enough: without any ticker the verdict turns when nothing moved for the patience."""
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
    vitals = replace(VITALS, delivered=1)
    assert dog.live().ok


def test_status_shows_everything() -> None:
    """The status names every vital sign and how long nothing moved."""
    now = 0.0
    dog = Watchdog(lambda: VITALS, clock=lambda: now)
    dog.beat()
    now = 2.5
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
        "unread": 9,
        "undelivered": 0,
        "uncommitted": 0,
        "waiting_for": None,
        "restoring": None,
        "heartbeat_age_s": None,
        "session_s": 10.0,
        "idle_s": 2.5,
        "outside_s": 0.0,
    }
