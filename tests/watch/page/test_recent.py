"""The last events: few, newest first, made into words when somebody looks."""

from __future__ import annotations

from pipeline.watch.page.document import EVENTS, NAME_CHARACTERS, Event
from pipeline.watch.page.recent import Recent


def test_the_last_ones_newest_first() -> None:
    """However many there were, a screen of them is kept, each with its time."""
    made: list[int] = []

    def show(at_ms: int, number: int) -> Event:
        made.append(number)
        return Event.of(at_ms, str(number), "accepted")

    now = [0.0]
    recent = Recent(show, lambda: now[0])
    for number in range(1000):
        now[0] = float(number)
        recent.add(number)
    assert made == [], "nobody has looked"
    shown = recent.events()
    assert [event.what for event in shown] == [str(number) for number in range(999, 999 - EVENTS, -1)]
    assert shown[0].at_ms == 999_000


def test_texts_of_any_length() -> None:
    """A type that somebody made up costs no page its answer."""
    event = Event.of(1, "x" * 10_000, "y" * 10_000, "z" * 10_000, "w" * 10_000)
    assert len(event.what) == len(event.who) == NAME_CHARACTERS
    assert event.what.endswith("x…")
