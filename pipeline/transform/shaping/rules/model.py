"""One rule as a value: the types and events that it applies to, its condition, its changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.transform.shaping.rules.document import At
from pipeline.transform.shaping.rules.expressions import Expression

Target = Literal["event", "profile"]


class Constant(NamedTuple):
    """The same value for each webhook."""

    value: Any


class Setting(NamedTuple):
    """An attribute that is added or changed: to a constant, or to what an expression or a path of the body gives."""

    name: str
    value: Constant | Expression
    at: At


class Renaming(NamedTuple):
    """An attribute that goes out under another name, with all its forms."""

    old: str
    new: str
    at: At


class Dropping(NamedTuple):
    """Attributes that are left out, with all their forms; `*` stands for any letters."""

    pattern: str
    at: At


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to attributes, in this order: renamed, dropped, set."""

    rename: tuple[Renaming, ...] = ()
    drop: tuple[Dropping, ...] = ()
    set: tuple[Setting, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rename or self.drop or self.set)


@dataclass(frozen=True, slots=True)
class Addition:
    """One more event.

    `key` is what its id is made of, beside the webhook's fact; `copies` gives it the event's own attributes.
    """

    name: str
    key: str
    at: At
    copies: bool = False
    set: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `types` and `events` are None where it applies to all of them."""

    at: At
    title: str
    types: frozenset[str] | None = None
    events: frozenset[str] | None = None
    match_at: At | None = None
    when: Expression | None = None
    rename: str | None = None
    rename_at: At | None = None
    drop: frozenset[Target] = frozenset()
    event: Changes = field(default_factory=Changes)
    profile: Changes = field(default_factory=Changes)
    add: tuple[Addition, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All attributes that it sets: on events, on the profile and on the events that it adds."""
        return (*self.event.set, *self.profile.set, *(one for addition in self.add for one in addition.set))

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All its expressions: the condition and the computed values."""
        computed = [one.value for one in self.settings if isinstance(one.value, Expression)]
        return (*((self.when,) if self.when is not None else ()), *computed)

    def changes(self, target: Target) -> Changes:
        """What it does to the attributes of an event or of the profile."""
        return self.event if target == "event" else self.profile

    def meets(self, other: Rule) -> bool:
        """Whether there may be an event that both apply to."""
        return _common(self.types, other.types) and _common(self.events, other.events)

    def covers(self, other: Rule) -> bool:
        """Whether this applies to each event that the other applies to; conditions are not looked at."""
        return _has_all(self.types, other.types) and _has_all(self.events, other.events)


def _has_all(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or (other is not None and other <= one)


def _common(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or other is None or bool(one & other)
