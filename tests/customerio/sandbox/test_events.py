"""An event counts once, stays in the order of arrival, and a step back is seen."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.events import Event, EventLog

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def event(sequence: int, person: str = "cus_1", timestamp: int = 0) -> Event:
    """An event of `person`."""
    return Event(sequence, person, "event", "x", None, timestamp, b"{}", 0, 1, 0)


def filled(log: EventLog, deliveries: list[tuple[str, Any]]) -> EventLog:
    """`log` after first deliveries of (person, order)."""
    for sequence, (person, order) in enumerate(deliveries, 1):
        log.append(event(sequence, person), order)
    return log


def test_an_id_counts_once() -> None:
    """A repeated id is ignored whatever its case; events without one always count."""
    log = EventLog(keep=10)
    assert [log.is_new(event_id) for event_id in (ULID, ULID, ULID.lower(), None, None)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert log.duplicates == 2


def test_ids_outlive_the_events_kept() -> None:
    """Bounded memory for looking at events does not bound deduplication."""
    log = EventLog(keep=2)
    ids = [f"{ULID[:-1]}{digit}" for digit in range(5)]
    for sequence, event_id in enumerate(ids, 1):
        assert log.is_new(event_id)
        log.append(event(sequence), 0)
    assert [kept.sequence for kept in log] == [4, 5]
    assert (len(log), log.stored) == (2, 5)
    assert not any(log.is_new(event_id) for event_id in ids)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5))))
def test_steps_back_are_counted_per_person(deliveries: list[tuple[str, int]]) -> None:
    """A violation is a delivery below the highest one before it of the same person."""
    expected = 0
    highest: dict[str, int] = {}
    for person, order in deliveries:
        expected += order < highest.get(person, 0)
        highest[person] = max(order, highest.get(person, 0))
    assert filled(EventLog(keep=100), deliveries).backwards.total() == expected


def test_what_is_no_number_has_no_order() -> None:
    """Events without the order attribute are left out of the check."""
    assert not filled(EventLog(keep=9), [("a", 3), ("a", None), ("a", "1"), ("a", 3)]).backwards
