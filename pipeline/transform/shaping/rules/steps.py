"""A rule, compiled to functions that are ready to be called."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.transform.shaping.rules.changes import Change, changes_of, settings_of
from pipeline.transform.shaping.rules.model import Addition, Rule
from pipeline.transform.shaping.rules.scope import Scope
from pipeline.transform.shaping.types import Event


class Added(NamedTuple):
    """An additional event; its id is made of `origin`."""

    name: str
    origin: str
    copies: bool
    changes: tuple[Change, ...]

    def event(self, scope: Scope) -> Event:
        """The event, for the webhook in `scope`."""
        attributes: dict[str, Any] = dict(scope.event) if self.copies and scope.event is not None else {}
        for change in self.changes:
            change(attributes, scope)
        return Event(self.name, attributes, self.origin)


class Step(NamedTuple):
    """What a rule changes where its condition is met: events, profile, added events; and the note for `explain`."""

    rule: Rule
    note: str
    event: tuple[Change, ...]
    profile: tuple[Change, ...]
    added: tuple[Added, ...]

    @property
    def rename(self) -> str | None:
        """The event's new name; None where it keeps its own."""
        return self.rule.rename

    @property
    def drops_event(self) -> bool:
        """Whether the event is not sent; the rule's other changes to it then have no effect."""
        return "event" in self.rule.drop

    @property
    def drops_profile(self) -> bool:
        """Whether no identify is sent."""
        return "profile" in self.rule.drop

    @property
    def touches_event(self) -> bool:
        """Whether it changes the webhook's own events."""
        return bool(self.event) or self.rename is not None or self.drops_event

    @property
    def touches_rest(self) -> bool:
        """Whether it changes the profile, or adds an event."""
        return bool(self.profile or self.added) or self.drops_profile


def step_of(rule: Rule, file: str) -> Step:
    """The step of a rule of `file`."""
    words = f"the rule at {file}:{rule.at.line} was applied"
    return Step(
        rule,
        words if rule.title.startswith("line ") else f"{words}: {rule.title}",
        changes_of(rule.event, "event", file),
        changes_of(rule.profile, "profile", file),
        tuple(map(_added, rule.add)),
    )


def _added(one: Addition) -> Added:
    return Added(one.name, f"+{one.key}", one.copies, settings_of(one.set, "event"))
