"""The rules at work: a shaper that looks up the rules of a webhook's type and carries them out in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.dodo.catalogue import TYPES
from pipeline.transform.shaping.rules.catalogue import forms
from pipeline.transform.shaping.rules.expressions import MISSING, Expression, Scope
from pipeline.transform.shaping.rules.model import Changes, Constant, Rule, Setting, Target
from pipeline.transform.shaping.types import IDENTIFY_ONLY, Attributes, Event, Identify, Known, Shaped, Webhook

Change = Callable[[dict[str, Any], Scope], None]


class _Step(NamedTuple):
    """A rule, ready to be carried out."""

    rule: Rule
    note: str
    event: tuple[Change, ...]
    profile: tuple[Change, ...]
    added: tuple[tuple[str, str, bool, tuple[Change, ...]], ...]
    touches_event: bool
    touches_rest: bool


class Rules:
    """The shaper of one file of rules.

    Args:
        rules: in the order of the file, without faults.
        version: hash of the file's bytes.
        path: of the file, for notes.
    """

    claims: Final[frozenset[str]] = frozenset()

    def __init__(self, rules: Iterable[Rule], version: str, path: Path) -> None:
        self.version = version
        self.rules = tuple(rules)
        steps = [_step(rule, path.name) for rule in self.rules]
        self._plans = {
            type_: tuple(step for step in steps if _concerns(step.rule, type_)) for type_ in (*TYPES, *IDENTIFY_ONLY)
        }
        self._others = tuple(step for step in steps if step.rule.types is None)

    def shape(self, webhook: Webhook, default: Shaped, know: Callable[[], Known]) -> Shaped:  # noqa: ARG002
        """See `Shaper`."""
        plan = self._plans.get(webhook.type, self._others)
        if not plan:
            return default
        return _carried_out(plan, webhook, default)


def _concerns(rule: Rule, type_: str) -> bool:
    if type_ in IDENTIFY_ONLY:
        return rule.types is None and rule.events is None
    return rule.types is None or type_ in rule.types


def _carried_out(plan: tuple[_Step, ...], webhook: Webhook, default: Shaped) -> Shaped:
    told = default.identify.attributes if default.identify is not None else None
    work = _Work(default)
    scopes = [Scope(webhook, event.attributes, told) for event in default.events]
    for step in plan:
        wanted, when = step.rule.events, step.rule.when
        held = [
            index
            for index, scope in enumerate(scopes)
            if (wanted is None or default.events[index].origin in wanted) and (when is None or when.holds(scope))
        ]
        if step.touches_event:
            for index in held:
                work.change_event(step, index, scopes[index])
        if held:
            first = scopes[held[0]]
        elif not scopes and wanted is None:
            first = Scope(webhook, None, told)
            if when is not None and not when.holds(first):
                continue
        else:
            continue
        work.notes.append(step.note)
        if step.touches_rest:
            work.change_rest(step, first)
    return work.done() if work.notes else default


class _Work:
    """What one webhook tells, in the making: nothing of the default is modified."""

    __slots__ = ("_added", "_copied", "_default", "_drops_profile", "_events", "_profile", "notes")

    def __init__(self, default: Shaped) -> None:
        self._default = default
        self._events: list[Event | None] = list(default.events)
        self._copied: dict[int, dict[str, Any]] = {}
        self._profile: dict[str, Any] | None = None
        self._drops_profile = False
        self._added: list[Event] = []
        self.notes: list[str] = []

    def change_event(self, step: _Step, index: int, scope: Scope) -> None:
        """Carry out what a rule does to one of the events, unless an earlier one has dropped it."""
        event = self._events[index]
        if event is None:
            return
        if "event" in step.rule.drop:
            self._events[index] = None
            return
        attributes: Attributes = event.attributes
        if step.event:
            if (changed := self._copied.get(index)) is None:
                changed = self._copied[index] = dict(attributes)
            for change in step.event:
                change(changed, scope)
            attributes = changed
        self._events[index] = Event(step.rule.rename or event.name, attributes, event.origin)

    def change_rest(self, step: _Step, scope: Scope) -> None:
        """Carry out what a rule does to the profile, and the events that it adds."""
        if "profile" in step.rule.drop:
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
            self._added.append(Event(name, attributes, key))

    def done(self) -> Shaped:
        """What it became."""
        identify = None if self._drops_profile else self._default.identify
        if identify is not None and self._profile is not None:
            identify = Identify(self._profile)
        events = [event for event in self._events if event is not None]
        return Shaped(identify, (*events, *self._added), tuple(self.notes))


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
        if value is not MISSING and (value is not None or target == "profile"):
            attributes[name] = value

    return change
