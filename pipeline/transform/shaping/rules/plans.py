"""Plans: which rules apply to webhooks of one type with certain events, worked out once and not at each webhook.

Nearly all webhooks have one event or none, so there is a faster kind of plan for them, beside that for several events.
Every condition and expression sees what the default mapping made, and nothing of that is modified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from pipeline.transform.shaping.rules.changes import Change
from pipeline.transform.shaping.rules.comparisons import Term
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.scope import Scope
from pipeline.transform.shaping.rules.steps import Step
from pipeline.transform.shaping.types import Event, Identify, Shaped, Webhook

Plan = Callable[[Webhook, Shaped], Shaped]
"""Applies the rules to a webhook; returns the default itself where no condition is met.

Raises:
    ShapingError: a condition or an expression cannot be evaluated.
"""


class _Met(NamedTuple):
    """A step with its condition `when`, and the indexes (`places`) of the events that it applies to.

    `test` is the fast form of the condition; it returns None where only `when` itself can decide.
    """

    step: Step
    when: Expression | None
    test: Term | None
    places: tuple[int, ...]


class _Move(NamedTuple):
    """A step for a webhook with one event at most; `rest` is None where it changes nothing but the event."""

    when: Expression | None
    test: Term | None
    note: str
    drops_event: bool
    rename: str | None
    event: tuple[Change, ...]
    rest: Step | None


def plan_of(steps: Iterable[Step], origins: tuple[str, ...]) -> Plan | None:
    """The plan for webhooks with events of these canonical names, out of their type's steps; None: no step applies."""
    met: list[_Met] = []
    for step in steps:
        wanted = step.rule.events
        places = tuple(place for place, origin in enumerate(origins) if wanted is None or origin in wanted)
        if places or (not origins and wanted is None):
            when = step.rule.when
            met.append(_Met(step, when, when.test if when is not None else None, places))
    if not met:
        return None
    if len(origins) > 1:
        return partial(_of_several, tuple(met))
    return partial(_of_one, tuple(_move(one, has_event=bool(origins)) for one in met))


def _move(one: _Met, *, has_event: bool) -> _Move:
    step = one.step
    drops = has_event and step.drops_event
    does = has_event and not drops
    return _Move(
        one.when,
        one.test,
        step.note,
        drops,
        step.rename if does else None,
        step.event if does else (),
        step if step.touches_rest else None,
    )


def _of_one(moves: tuple[_Move, ...], webhook: Webhook, default: Shaped) -> Shaped:
    """Apply the moves to a webhook with one event, or none."""
    identify, events, _ = default
    event = events[0] if events else None
    told = identify.attributes if identify is not None else None
    scope = Scope(webhook, event.attributes if event is not None else None, told)
    notes: list[str] = []
    is_dropped = is_profile_dropped = False
    name: str | None = None
    changed: dict[str, Any] | None = None
    profile: dict[str, Any] | None = None
    added: list[Event] = []
    for when, test, note, drops, rename, changes, rest in moves:
        if test is not None and when is not None:
            answer = test(scope)
            if answer is False or (answer is None and not when.holds(scope)):
                continue
        notes.append(note)
        if drops:
            is_dropped = True
        if rename is not None:
            name = rename
        if changes and event is not None:
            if changed is None:
                changed = dict(event.attributes)
            for change in changes:
                change(changed, scope)
        if rest is None:
            continue
        if rest.drops_profile:
            is_profile_dropped = True
        if rest.profile and identify is not None:
            if profile is None:
                profile = dict(identify.attributes)
            for change in rest.profile:
                change(profile, scope)
        added += [one.event(scope) for one in rest.added]
    if not notes:
        return default
    if is_dropped:
        events = ()
    elif event is not None and (changed is not None or name is not None):
        events = (
            Event(event.name if name is None else name, event.attributes if changed is None else changed, event.origin),
        )
    if is_profile_dropped:
        identify = None
    elif profile is not None:
        identify = Identify(profile)
    return Shaped(identify, (*events, *added) if added else events, tuple(notes))


def _of_several(met: tuple[_Met, ...], webhook: Webhook, default: Shaped) -> Shaped:
    """Apply the rules to a webhook with several events.

    Each rule is tried on each event; its changes of the profile and the events that it adds are made once, by the first
    event on which its condition is met.
    """
    told = default.identify.attributes if default.identify is not None else None
    scopes = [Scope(webhook, event.attributes, told) for event in default.events]
    work = _Work(default)
    for step, when, test, places in met:
        first: Scope | None = None
        for place in places:
            scope = scopes[place]
            if when is not None and test is not None:
                answer = test(scope)
                if answer is False or (answer is None and not when.holds(scope)):
                    continue
            if first is None:
                first = scope
            if step.touches_event:
                work.change_event(step, place, scope)
        if first is None:
            continue
        work.notes.append(step.note)
        if step.touches_rest:
            work.change_rest(step, first)
    return work.done() if work.notes else default


class _Work:
    """Collects the changes to a webhook with several events, until `done`."""

    __slots__ = ("_added", "_attributes", "_default", "_dropped", "_drops_profile", "_names", "_profile", "notes")

    def __init__(self, default: Shaped) -> None:
        self._default = default
        self._names: dict[int, str] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        self._dropped: set[int] = set()
        self._profile: dict[str, Any] | None = None
        self._drops_profile = False
        self._added: list[Event] = []
        self.notes: list[str] = []

    def change_event(self, step: Step, place: int, scope: Scope) -> None:
        """Apply a rule's changes to one of the events."""
        if step.drops_event:
            self._dropped.add(place)
            return
        if step.rename is not None:
            self._names[place] = step.rename
        if step.event:
            changed = self._attributes.get(place)
            if changed is None:
                changed = self._attributes[place] = dict(self._default.events[place].attributes)
            for change in step.event:
                change(changed, scope)

    def change_rest(self, step: Step, scope: Scope) -> None:
        """Apply a rule's changes to the profile, and add its events."""
        if step.drops_profile:
            self._drops_profile = True
        if step.profile and self._default.identify is not None:
            if self._profile is None:
                self._profile = dict(self._default.identify.attributes)
            for change in step.profile:
                change(self._profile, scope)
        self._added += [one.event(scope) for one in step.added]

    def done(self) -> Shaped:
        """The webhook with all changes."""
        identify = self._default.identify
        if self._drops_profile:
            identify = None
        elif self._profile is not None:
            identify = Identify(self._profile)
        events = [
            Event(self._names.get(place, event.name), self._attributes.get(place, event.attributes), event.origin)
            for place, event in enumerate(self._default.events)
            if place not in self._dropped
        ]
        return Shaped(identify, (*events, *self._added), tuple(self.notes))
