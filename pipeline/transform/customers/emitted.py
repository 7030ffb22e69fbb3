"""The events of a customer that were sent, in their order, so that the oldest of many is found.

Beside the summary, as the roster is: `e`, the time and the id, behind `customer NUL`. The facts' own keys are in the
order of the events' own times, in which a replay of an old webhook would stand before all others for half a year.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.facts import Fact, prefix

EVENT: Final = b"e"

_BEHIND: Final = b"\xff"
_SECONDS_BYTES: Final = 9
_ZERO: Final = 2**63
"""JSON of a fact holds no smaller number than minus this."""


class Emitted:
    """The places of one customer's events; each change is kept at once."""

    def __init__(self, store: KeyValueStore, customer: bytes) -> None:
        self._store = store
        self._begin = prefix(customer) + EVENT

    def add(self, event_id: str, emitted_s: int) -> None:
        """An event is out."""
        self._store.put_derived(self._place(event_id, emitted_s), b"")

    def drop(self, event_id: str, emitted_s: int) -> None:
        """It is not known any more, or went out at another time."""
        self._store.put_derived(self._place(event_id, emitted_s), None)

    def first(self) -> Fact | None:
        """`[ULID, emitted (s)]` of the event that is out for longest; None when there is none."""
        for key, _ in self._store.derived_between(self._begin, self._begin + _BEHIND):
            place = key[len(self._begin) :]
            return [place[_SECONDS_BYTES:].decode(), int.from_bytes(place[:_SECONDS_BYTES], "big") - _ZERO]
        return None

    def anew(self, events: Iterable[tuple[str, int]]) -> None:
        """Have these and no others."""
        wanted = {self._place(*event) for event in events}
        known = {key for key, _ in self._store.derived_between(self._begin, self._begin + _BEHIND)}
        for key in known - wanted:
            self._store.put_derived(key, None)
        for key in wanted - known:
            self._store.put_derived(key, b"")

    def _place(self, event_id: str, emitted_s: int) -> bytes:
        return self._begin + (emitted_s + _ZERO).to_bytes(_SECONDS_BYTES, "big") + event_id.encode()
