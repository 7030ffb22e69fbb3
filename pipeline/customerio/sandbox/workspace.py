"""The state of one workspace: people, objects and events, changed by accepted operations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.events import Event, EventLog
from pipeline.customerio.sandbox.hints import hints_of_event
from pipeline.customerio.sandbox.objects import Objects, relate
from pipeline.customerio.sandbox.people import People

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """The time and the request with which operations arrived."""

    at_ms: int
    request: int


@dataclass(slots=True)
class Workspace:
    """The state that operations change; every operation given to it must be valid."""

    config: SandboxConfig
    people: People = field(init=False)
    objects: Objects = field(init=False)
    events: EventLog = field(init=False)
    actions: Counter[str] = field(default_factory=Counter)
    hints: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    ignored_as_suppressed: int = 0

    def __post_init__(self) -> None:
        config = self.config
        self.people = People(email_updates=config.email_updates, attributes=not config.fast)
        self.objects = Objects()
        self.events = EventLog(keep=config.keep_events, order_by=config.order_by)

    def apply(self, operation: Operation, arrival: Arrival, index: int) -> None:
        """Apply one operation that arrived at `index` of its request."""
        kind, action = operation["type"], operation["action"]
        self.actions[action if kind == "person" else f"{kind} {action}"] += 1
        if kind == "person":
            if action == "merge":
                self.people.merge(operation["primary"], operation["secondary"])
            elif action != "unsuppress" and self.people.is_suppressed(operation["identifiers"]):
                self.ignored_as_suppressed += 1
            elif action in {"event", "page", "screen"}:
                self._event(operation, action, arrival, index)
            else:
                self._person(operation, action, arrival)
        elif kind == "object":
            self.objects.apply(operation)
        else:
            self.deliveries += 1

    def _event(self, operation: Operation, action: str, arrival: Arrival, index: int) -> None:
        event_id = operation.get("id")
        if not self.events.is_new(event_id):
            return
        person = self.people.touch(operation["identifiers"], arrival.at_ms)
        if person is None:
            return
        person.events += 1
        timestamp = _timestamp(operation, arrival)
        attributes = operation.get("attributes") or {}
        config = self.config
        event = Event(
            sequence=self.events.stored + 1,
            person=person.label,
            action=action,
            name=operation["name"].strip(),
            id=event_id,
            timestamp=timestamp,
            attributes=None if config.fast else _compact(attributes),
            arrived_at_ms=arrival.at_ms,
            request=arrival.request,
            index=index,
        )
        self.events.append(event, timestamp if config.order_by == "timestamp" else attributes.get(config.order_by))
        if not config.fast:
            hints = hints_of_event(operation, email_known=person.email is not None, now_s=arrival.at_ms / 1000)
            for hint in hints:
                self.hints[hint] += 1

    def _person(self, operation: Operation, action: str, arrival: Arrival) -> None:
        identifiers, people = operation["identifiers"], self.people
        match action:
            case "identify":
                attributes = operation.get("attributes") or {}
                person = people.identify(identifiers, attributes, _timestamp(operation, arrival), arrival.at_ms)
                if person is not None and "cio_relationships" in operation:
                    relate(person.relationships, operation["cio_relationships"], remove=False)
            case "delete":
                people.delete(identifiers)
            case "suppress":
                people.suppress(identifiers)
            case "unsuppress":
                people.unsuppress(identifiers)
            case "add_relationships" | "delete_relationships":
                person = people.touch(identifiers, arrival.at_ms)
                if person is not None:
                    remove = action == "delete_relationships"
                    relate(person.relationships, operation["cio_relationships"], remove=remove)
            case _:
                self._device(operation, action, arrival)

    def _device(self, operation: Operation, action: str, arrival: Arrival) -> None:
        device = operation["device"]
        person = self.people.touch(operation["identifiers"], arrival.at_ms)
        if person is None:
            return
        if action == "add_device":
            person.devices[device["token"]] = device
        else:
            person.devices.pop(device["token"], None)


def _compact(attributes: dict[str, Any]) -> bytes:
    """JSON to keep. Copied, since orjson's own bytes occupy a buffer of 8 kB as long as they exist."""
    return bytes(memoryview(orjson.dumps(attributes)))


def _timestamp(operation: Operation, arrival: Arrival) -> int | float:
    """The time of an event; a value that is no number counts as now, as observed with the real API."""
    timestamp = operation.get("timestamp")
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        return timestamp
    return arrival.at_ms // 1000
