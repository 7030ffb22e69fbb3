"""Finds attributes that rules would lose: two that get one name, and one whose name another attribute gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final

from pipeline.transform.mapping.vocabulary import PROFILE
from pipeline.transform.shaping.rules.catalogue import REFERENCES, events_of, forms, sent_names
from pipeline.transform.shaping.rules.changes import moves
from pipeline.transform.shaping.rules.document import At, Fault, Severity
from pipeline.transform.shaping.rules.model import Changes, Rule, Target

TARGETS: Final[tuple[Target, ...]] = ("event", "profile")


def in_one(changes: Changes, target: Target) -> Iterator[Fault]:
    """Names that one rule makes twice, and attributes that it renames and drops."""
    made = [(new, renaming.at) for new, renaming in moves(changes.rename, target).values()]
    made += [(one.name, one.at) for one in changes.set]
    first: dict[str, At] = {}
    told: set[At] = set()
    for name, at in made:
        if name in first and at not in told:
            told.add(at)
            yield Fault(at, f"'{name}' is made twice, first at line {first[name].line}: one of them is lost")
        first.setdefault(name, at)
    for renaming in changes.rename:
        for dropping in changes.drop:
            if fnmatchcase(renaming.old, dropping.pattern) and "*" not in dropping.pattern:
                yield Fault(dropping.at, f"'{renaming.old}' is renamed and dropped: keep one")


def of_default(rule: Rule, before: Sequence[Rule], extra: frozenset[str]) -> Iterator[Fault]:
    """Attributes of the default mapping whose names the rule gives to others.

    Args:
        rule: of which.
        before: the rules that surely have been carried out where this one is, which may have given a name up.
        extra: attributes that other code adds.
    """
    for target in TARGETS:
        moved = moves(rule.changes(target).rename, target)
        sent = _sent(rule, target) if moved else {}
        known = set[str]().union(*sent.values())
        told: set[At] = set()
        for old, (new, renaming) in moved.items():
            is_free = new in moved or any(_gives_up(one.changes(target), new, target) for one in before)
            if is_free or renaming.at in told:
                continue
            whose = [who for who, names in sent.items() if new in names and (old in names or old not in known)]
            if new in extra or whose:
                told.add(renaming.at)
                yield Fault(
                    renaming.at,
                    f"{min(whose, default=f'the {target}')} has '{new}' already, which would be lost: rename that in "
                    f"this rule or leave it out in an earlier one, or set '{new}' to {{cel: {target}.{old}}}",
                )


def _sent(rule: Rule, target: Target) -> dict[str, set[str]]:
    """The names that go out on the profile, or on each of the events that the rule concerns."""
    if target == "profile":
        return {"the profile": sent_names(PROFILE)}
    return {event: sent_names(REFERENCES[event].attributes) for event in events_of(rule.types, rule.events)}


def _gives_up(changes: Changes, name: str, target: Target) -> bool:
    if any(name == new for new, _ in moves(changes.rename, target).values()):
        return False
    return name in moves(changes.rename, target) or any(
        fnmatchcase(name, one.pattern) or name in forms(one.pattern, target) for one in changes.drop
    )


def in_two(earlier: Rule, later: Rule, severity: Severity) -> Iterator[Fault]:
    """Attributes that the later rule finds no more, and names that both make.

    Args:
        earlier: the one that is carried out first.
        later: the other one.
        severity: error where both surely hold together.
    """
    for target in TARGETS:
        first, second = earlier.changes(target), later.changes(target)
        if not second.rename and not (first.rename and second.set):
            continue
        moved, moved_later = moves(first.rename, target), moves(second.rename, target)
        made = {new: renaming.at for new, renaming in moved.values()}
        for renaming in second.rename:
            if renaming.old in moved and renaming.old not in made:
                new, other = moved[renaming.old]
                yield Fault(
                    renaming.at,
                    f"two rules rename {target} attribute '{renaming.old}': the one at line {other.at.line} makes it "
                    f"'{new}', this one finds it no more",
                    severity,
                )
        again = {new: renaming.at for new, renaming in moved_later.values() if new not in moved_later}
        both = [(name, at, place) for name, at in again.items() if (place := _place(first, made, name)) is not None]
        if severity == "error":
            both += [(one.name, one.at, made[one.name]) for one in second.set if one.name in made]
        for name, at, place in both:
            yield Fault(
                at,
                f"two rules make {target} attribute '{name}' of different ones, the other at line {place.line}",
                severity,
            )


def _place(changes: Changes, made: dict[str, At], name: str) -> At | None:
    return made.get(name) or next((one.at for one in changes.set if one.name == name), None)
