"""What the rules do to webhooks of one type with certain events: all that can be known beforehand is worked out once.

Nearly all webhooks tell one event or none, and have a plan of their own kind that makes nothing it does not need. Every
condition and expression sees what the default mapping made, and nothing of that is modified.
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
"""What becomes of a webhook; the default itself where no condition holds.

Raises:
    ShapingError: a condition or an expression cannot be worked out.
"""


class _Met(NamedTuple):
    """A step with when it holds, and the places of the events that it concerns.

    `test` answers for `when`, or says None where only `when` itself can.
    """

    step: Step
    when: Expression | None
    test: Term | None
    places: tuple[int, ...]


class _Move(NamedTuple):
    """A step for a webhook with one event at most; `rest` is None where it does nothing but to the event."""

    when: Expression | None
    test: Term | None
    note: str
    drops_event: bool
    rename: str | None
    event: tuple[Change, ...]
    rest: Step | None


def plan_of(steps: Iterable[Step], origins: tuple[str, ...]) -> Plan | None:
    """The plan for webhooks of a type that `steps` are for, with events of these names; None: nothing concerns them."""
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
    """A webhook with one event, or none."""
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
    """A webhook with several events: a rule is tried on each, and does the rest for the first on which it holds."""
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
    """What a webhook of several events tells, in the making."""

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
        """Carry out what a rule does to one of the events."""
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
        """Carry out what a rule does to the profile, and the events that it adds."""
        if step.drops_profile:
            self._drops_profile = True
        if step.profile and self._default.identify is not None:
            if self._profile is None:
                self._profile = dict(self._default.identify.attributes)
            for change in step.profile:
                change(self._profile, scope)
        self._added += [one.event(scope) for one in step.added]

    def done(self) -> Shaped:
        """What it became."""
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
