"""The rules at work: a shaper that looks up the rules of a webhook's type and carries them out in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.errors import ShapingError
from pipeline.transform.shaping.applied import check_attributes
from pipeline.transform.shaping.rules.catalogue import forms
from pipeline.transform.shaping.rules.expressions import MISSING, Expression, Scope, Term
from pipeline.transform.shaping.rules.model import Changes, Constant, Rule, Setting, Target
from pipeline.transform.shaping.types import IDENTIFY_ONLY, Event, Identify, Known, Shaped, Webhook

Change = Callable[[dict[str, Any], Scope], None]


class _Step(NamedTuple):
    """A rule, ready to be carried out."""

    rule: Rule
    note: str
    event: tuple[Change, ...]
    profile: tuple[Change, ...]
    added: tuple[tuple[str, str, bool, tuple[Change, ...]], ...]
    rename: str | None
    drops_event: bool
    drops_profile: bool
    touches_event: bool
    touches_rest: bool


class _Planned(NamedTuple):
    """A rule for webhooks of one type with certain events: the places of those that it concerns."""

    step: _Step
    when: Expression | None
    alone: Term | None
    places: tuple[int, ...]


PLANS_MAX: Final = 1_000
"""Types and their events are a few dozen; what code behind the mapping makes up must not fill the memory."""

ALONE: Final = (0,)
"""The place of a webhook without an event."""


class Rules:
    """The shaper of one file of rules.

    Args:
        rules: in the order of the file, without faults.
        version: hash of the file's bytes.
        path: of the file, for notes.
    """

    claims: Final[frozenset[str]] = frozenset()
    is_checked: Final = True

    def __init__(self, rules: Iterable[Rule], version: str, path: Path) -> None:
        self.version = version
        self.rules = tuple(rules)
        self._steps = tuple(_step(rule, path.name) for rule in self.rules)
        self._plans: dict[tuple[str, ...], tuple[_Planned, ...]] = {}

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        events = default.events
        met = (webhook.type, events[0].origin) if len(events) == 1 else (webhook.type, *(one.origin for one in events))
        plan = self._plans.get(met)
        if plan is None:
            plan = tuple(self._planned(met[0], met[1:]))
            if len(self._plans) < PLANS_MAX:
                self._plans[met] = plan
        if not plan:
            return default
        return _carried_out(plan, webhook, default)

    def _planned(self, type_: str, origins: tuple[str, ...]) -> Iterator[_Planned]:
        """The rules that concern a webhook of this type with these events, each with the places of its events."""
        for step in self._steps:
            if not _concerns(step.rule, type_):
                continue
            wanted = step.rule.events
            places = tuple(place for place, origin in enumerate(origins) if wanted is None or origin in wanted)
            if places or (not origins and wanted is None):
                when = step.rule.when
                yield _Planned(step, when, when.alone if when is not None else None, places)


def _concerns(rule: Rule, type_: str) -> bool:
    if type_ in IDENTIFY_ONLY:
        return rule.types is None and rule.events is None
    return rule.types is None or type_ in rule.types


def _carried_out(plan: tuple[_Planned, ...], webhook: Webhook, default: Shaped) -> Shaped:
    told = default.identify.attributes if default.identify is not None else None
    scopes = [Scope(webhook, event.attributes, told) for event in default.events] or [Scope(webhook, None, told)]
    work: _Work | None = None
    for step, when, alone, places in plan:
        first: Scope | None = None
        for place in places or ALONE:
            scope = scopes[place]
            if when is not None:
                answer = alone(scope) if alone is not None else None
                if answer is False or (answer is None and not when.holds(scope)):
                    continue
            if work is None:
                work = _Work(default)
            if first is None:
                first = scope
            if places and step.touches_event:
                work.change_event(step, place, scope)
        if first is None or work is None:
            continue
        work.notes.append(step.note)
        if step.touches_rest:
            work.change_rest(step, first)
    return work.done() if work is not None else default


class _Work:
    """What one webhook tells, in the making: nothing of the default is modified."""

    __slots__ = ("_added", "_attributes", "_default", "_dropped", "_drops_profile", "_names", "_profile", "notes")

    def __init__(self, default: Shaped) -> None:
        self._default = default
        self._names: dict[int, str] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        self._dropped: set[int] | None = None
        self._profile: dict[str, Any] | None = None
        self._drops_profile = False
        self._added: list[Event] | None = None
        self.notes: list[str] = []

    def change_event(self, step: _Step, place: int, scope: Scope) -> None:
        """Carry out what a rule does to one of the events."""
        if step.drops_event:
            self._dropped = {place} if self._dropped is None else {*self._dropped, place}
            return
        if step.rename is not None:
            self._names[place] = step.rename
        if step.event:
            changed = self._attributes.get(place)
            if changed is None:
                changed = self._attributes[place] = dict(self._default.events[place].attributes)
            for change in step.event:
                change(changed, scope)

    def change_rest(self, step: _Step, scope: Scope) -> None:
        """Carry out what a rule does to the profile, and the events that it adds."""
        if step.drops_profile:
            self._drops_profile = True
        if step.profile and self._default.identify is not None:
            if self._profile is None:
                self._profile = dict(self._default.identify.attributes)
            for change in step.profile:
                change(self._profile, scope)
        for name, key, copies, changes in step.added:
            attributes = dict(scope.event) if copies and scope.event is not None else {}
            for change in changes:
                change(attributes, scope)
            event = Event(name, attributes, key)
            self._added = [event] if self._added is None else [*self._added, event]

    def done(self) -> Shaped:
        """What it became."""
        identify, events = self._default.identify, self._default.events
        if self._drops_profile:
            identify = None
        elif self._profile is not None:
            identify = Identify(self._profile)
        if self._names or self._attributes or self._dropped:
            events = tuple(
                Event(self._names.get(place, event.name), self._attributes.get(place, event.attributes), event.origin)
                for place, event in enumerate(events)
                if self._dropped is None or place not in self._dropped
            )
        if self._added is not None:
            events = (*events, *self._added)
        return Shaped(identify, events, tuple(self.notes))


def _step(rule: Rule, file: str) -> _Step:
    event, profile = _changes(rule.event, "event"), _changes(rule.profile, "profile")
    added = tuple((one.name, f"+{one.key}", one.copies, _settings(one.set, "event")) for one in rule.add)
    return _Step(
        rule,
        f"the rule at {file}:{rule.at.line} was applied"
        + ("" if rule.title.startswith("line ") else f": {rule.title}"),
        event,
        profile,
        added,
        rename=rule.rename,
        drops_event="event" in rule.drop,
        drops_profile="profile" in rule.drop,
        touches_event=bool(event) or rule.rename is not None or "event" in rule.drop,
        touches_rest=bool(profile or added) or "profile" in rule.drop,
    )


def _changes(changes: Changes, target: Target) -> tuple[Change, ...]:
    made: list[Change] = []
    if changes.rename:
        made.append(_renames([pair for one in changes.rename for pair in _pairs(one.old, one.new, target)]))
    if changes.drop:
        made.append(_drops([one.pattern for one in changes.drop], target))
    return (*made, *_settings(changes.set, target))


def _pairs(old: str, new: str, target: Target) -> list[tuple[str, str]]:
    """The attribute with all its forms."""
    return [(name, f"{new}{name.removeprefix(old)}") for name in forms(old, target)]


def _renames(pairs: list[tuple[str, str]]) -> Change:
    def change(attributes: dict[str, Any], _scope: Scope) -> None:
        for old, new in pairs:
            if old in attributes:
                attributes[new] = attributes.pop(old)

    return change


def _drops(patterns: list[str], target: Target) -> Change:
    names = {name for pattern in patterns if "*" not in pattern for name in forms(pattern, target)}
    wild = [translate(pattern) for pattern in patterns if "*" in pattern]
    matches = re.compile("|".join(wild)).match if wild else None

    def change(attributes: dict[str, Any], _scope: Scope) -> None:
        for name in names:
            attributes.pop(name, None)
        if matches is not None:
            for name in [name for name in attributes if matches(name)]:
                del attributes[name]

    return change


def _settings(settings: tuple[Setting, ...], target: Target) -> tuple[Change, ...]:
    constants = {one.name: one.value.value for one in settings if isinstance(one.value, Constant)}
    made: list[Change] = []
    if constants:
        made.append(lambda attributes, _scope: attributes.update(constants))
    made += [_computes(one.name, one.value, target) for one in settings if isinstance(one.value, Expression)]
    return tuple(made)


def _computes(name: str, expression: Expression, target: Target) -> Change:
    """An event has no attribute that is null; on a profile null removes one."""

    def change(attributes: dict[str, Any], scope: Scope) -> None:
        value = expression.value(scope)
        if value is MISSING or (value is None and target == "event"):
            return
        kind = type(value)
        if kind is not str and kind is not int and kind is not bool and value is not None:
            _check(name, value, expression)
        attributes[name] = value

    return change


def _check(name: str, value: Any, expression: Expression) -> None:
    """What only CEL makes, a time or no number, cannot go out."""
    try:
        check_attributes({name: value}, "this rule")
    except ShapingError as error:
        raise ShapingError(f"{expression.place}: {error}", place=expression.place) from None
