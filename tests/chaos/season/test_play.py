"""What the season's script refused on purpose is taken out of the judgement, and nothing else is."""

from __future__ import annotations

from typing import Any

from tests.chaos.season.catalogue import BY_NAME
from tests.chaos.season.faults.table import FAULTS
from tests.chaos.season.play import without_refused
from tests.chaos.season.record import Taken
from tests.chaos.truth import Event, Outcome

LETTER = ("sink", "refused", "msg_2")


def event(number: int) -> Event:
    """One of three events of a person."""
    return Event.of(f"ulid-{number}", "cus_1", "paid", number, {"webhook_id": f"msg_{number}"})


def line(number: int, *, accepted: bool = True) -> tuple[Taken, dict[str, Any] | None]:
    """The stand-in's line about it."""
    operation = {"timestamp": number, "attributes": {"webhook_id": f"msg_{number}"}}
    taken = Taken(number, number, 0, accepted, "cus_1", f"ulid-{number}", "paid", f"msg_{number}")
    return taken, None if accepted else operation


LINES = [line(1), line(2, accepted=False), line(3)]


def test_a_refused_event_stands_where_it_was_refused() -> None:
    """With its dead letter it is as good as accepted: nothing else would be."""
    seen = Outcome([event(1), event(3)], {}, {LETTER, ("ingest", "unreadable", "msg_9")}, refused=1)
    assert without_refused(seen, LINES) == []
    assert seen.events == [event(1), event(2), event(3)]
    assert (seen.dead_letters, seen.refused) == ({("ingest", "unreadable", "msg_9")}, 0)


def test_a_refused_event_without_a_letter_was_lost() -> None:
    """It is told."""
    seen = Outcome([event(1), event(3)], {}, refused=1)
    assert "1 refused events without a dead letter" in without_refused(seen, LINES)[0]


def test_what_was_refused_once_and_taken_later_needs_no_letter() -> None:
    """Whoever was killed between the answer and the letter sends it again; its place is the first."""
    seen = Outcome([event(1), event(3), event(2)], {}, refused=1)
    assert without_refused(seen, [*LINES, line(2)]) == []
    assert seen.events == [event(1), event(2), event(3)]


def test_what_nobody_refused_on_purpose_stays() -> None:
    """Another event's letter, a refusal more than the script's, and an event that the log does not have."""
    other = ("sink", "refused", "msg_3")
    seen = Outcome([event(1), event(3), event(4)], {}, {LETTER, other}, refused=2)
    assert without_refused(seen, LINES) == []
    assert (seen.dead_letters, seen.refused) == ({other}, 1)
    assert seen.events[-1] == event(4)


def test_every_kind_has_its_fault() -> None:
    """The schedule knows none that cannot be done, and none that can be done is left out."""
    assert FAULTS.keys() == BY_NAME.keys()
