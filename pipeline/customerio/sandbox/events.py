"""The log of events: each once, in the order of arrival, as a person's timeline would show them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was first delivered.

    Attributes:
        sequence: its place in the order of arrival, from 1.
        person: the person's id, else the identifier that was sent.
        action: `event`, `page` or `screen`.
        name: trimmed.
        id: the ULID, if one was sent.
        timestamp: unix seconds, as sent; the time of arrival when none was sent.
        attributes: compact JSON; None in fast mode.
        arrived_at_ms: unix milliseconds.
        request: number of the request.
        index: place in the batch; 0 for a single entity.
    """

    sequence: int
    person: str
    action: str
    name: str
    id: str | None
    timestamp: int | float
    attributes: bytes | None
    arrived_at_ms: int
    request: int
    index: int

    def as_json(self) -> dict[str, Any]:
        """The event for `/__sandbox/events`; `orjson` writes the attributes as they are."""
        return {
            "seq": self.sequence,
            "person": self.person,
            "action": self.action,
            "name": self.name,
            "id": self.id,
            "timestamp": self.timestamp,
            "attributes": None if self.attributes is None else orjson.Fragment(self.attributes),
            "arrived_at_ms": self.arrived_at_ms,
            "request": self.request,
            "index": self.index,
        }


@dataclass(slots=True)
class EventLog:
    """Keeps first deliveries, counts repetitions, and checks the order.

    Attributes:
        keep: how many events stay for inspection.
        order_by: `timestamp` or the name of a numeric attribute.
        stored: events that arrived for the first time.
        duplicates: repetitions of an id that were ignored.
        backwards: person → number of first deliveries whose order value was below that of an earlier one.
    """

    keep: int
    order_by: str = "timestamp"
    stored: int = 0
    duplicates: int = 0
    names: Counter[str] = field(default_factory=Counter)
    backwards: Counter[str] = field(default_factory=Counter)
    _events: deque[Event] = field(init=False)
    _ids: set[str] = field(default_factory=set)
    _latest: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._events = deque(maxlen=self.keep)

    def __len__(self) -> int:
        """Events kept."""
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        """The events kept, in the order of their arrival."""
        return iter(self._events)

    def is_new(self, event_id: str | None) -> bool:
        """Whether an event with this id counts; an event without one always does."""
        if event_id is None:
            return True
        key = event_id.upper()
        if key in self._ids:
            self.duplicates += 1
            return False
        self._ids.add(key)
        return True

    def append(self, event: Event, order: Any) -> None:
        """Keep a first delivery; `order` is the value of `order_by`, ignored unless it is a number."""
        self.stored += 1
        self.names[event.name] += 1
        self._events.append(event)
        if isinstance(order, int | float):
            latest = self._latest.get(event.person)
            if latest is not None and order < latest:
                self.backwards[event.person] += 1
            else:
                self._latest[event.person] = order
