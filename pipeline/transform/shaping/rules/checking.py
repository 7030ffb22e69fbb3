"""Checks rules before they are used, by the catalogue and on every built-in sample.

Found are rules that can never match, names that do not exist, values that cannot be sent, and rules that contradict
each other. Expressions are evaluated on what the default mapping makes of the samples, so that a comparison of a text
with a number fails here and not on a customer's webhook.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from pipeline.errors import ShapingError
from pipeline.transform.mapping.vocabulary import PROFILE
from pipeline.transform.shaping.applied import check_attributes
from pipeline.transform.shaping.rules import losses
from pipeline.transform.shaping.rules.catalogue import (
    ALWAYS_DROPPED,
    OPEN,
    attributes_of,
    body_fields,
    events_of,
    scopes,
    sent_names,
    types_of,
)
from pipeline.transform.shaping.rules.document import Fault, Severity, meant
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.model import Changes, Constant, Rule, Target
from pipeline.transform.shaping.rules.scope import MISSING

ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%"})

MONEY_OF_BODY: Final = re.compile(r".*(amount|tax|total|price|fee)s?$")
"""Members of a body that hold minor units."""


def check(rules: list[Rule], extra: frozenset[str] = frozenset()) -> list[Fault]:
    """The faults of rules that could all be read, warnings included.

    Args:
        rules: in the order of the file.
        extra: attributes that other code adds before the rules, and that are not in the catalogue.
    """
    faults: list[Fault] = []
    made: set[str] = set(extra)
    for place, rule in enumerate(rules):
        faults += _matching(rule)
        faults += _names(rule, made)
        before = [one for one in rules[:place] if one.covers(rule) and (one.when is None or _hold_alike(one, rule))]
        faults += losses.of_default(rule, before, extra)
        for expression in rule.expressions:
            faults += _paths(rule, expression, extra)
            faults += _money(expression)
        faults += _trial(rule)
        faults += _constants(rule)
        made |= {one.new for changes in (rule.event, rule.profile) for one in changes.rename}
        made |= {one.name for one in rule.settings}
    return faults + list(_conflicts(rules))


def _matching(rule: Rule) -> Iterator[Fault]:
    at = rule.match_at or rule.at
    if rule.types is not None and rule.types and rule.types <= ALWAYS_DROPPED:
        yield Fault(at, "this matches nothing: of these types nothing is ever sent (a payout is the merchant's own)")
        return
    concerned = events_of(rule.types, rule.events)
    if rule.events and not concerned:
        name = min(rule.events)
        yield Fault(at, f"this matches nothing: {name} comes from {', '.join(sorted(types_of(name)))} alone")
    elif not concerned and (rule.rename is not None or rule.event or "event" in rule.drop):
        yield Fault(at, "this changes nothing: these types have no event by default; add: makes one")
    if (rule.profile.rename or rule.profile.drop) and (rule.types is not None or rule.events is not None):
        yield Fault(
            at,
            "profile updates come with all types, and with backfills, where this rule does not hold: what it renames "
            "or drops goes out with them. Leave match out for rename and drop on profile",
            "warning",
        )


def _names(rule: Rule, made: set[str]) -> Iterator[Fault]:
    targets: tuple[tuple[Target, Changes], ...] = (("event", rule.event), ("profile", rule.profile))
    for target, changes in targets:
        known = (
            sent_names(attributes_of(events_of(rule.types, rule.events))) if target == "event" else sent_names(PROFILE)
        )
        known |= made
        for renaming in changes.rename:
            if not _is_known(renaming.old, known):
                yield Fault(renaming.at, _unknown(renaming.old, target, known))
        for dropping in changes.drop:
            if "*" in dropping.pattern:
                if not any(fnmatchcase(name, dropping.pattern) for name in (*known, *(f"{one}x" for one in OPEN))):
                    yield Fault(dropping.at, f"no attribute of the {target} is called {dropping.pattern}")
            elif not _is_known(dropping.pattern, known):
                yield Fault(dropping.at, _unknown(dropping.pattern, target, known))
        if target == "profile" and "email" in {one.pattern for one in changes.drop} and rule.when is None:
            at = next(one.at for one in changes.drop if one.pattern == "email")
            yield Fault(at, "without email on the profile no campaign can mail the person", "warning")
        yield from losses.in_one(changes, target)


def _is_known(name: str, known: set[str]) -> bool:
    return name in known or name.startswith(OPEN)


def _unknown(name: str, target: Target, known: set[str]) -> str:
    whose = "these events" if target == "event" else "the profile"
    return (
        f"{whose} have no attribute '{name}'{meant(name, known)} (attributes that other code adds are listed under "
        "known_attributes)"
        if target == "event"
        else f"{whose} has no attribute '{name}'{meant(name, known)} (attributes that other code adds are listed under "
        "known_attributes)"
    )


def _paths(rule: Rule, expression: Expression, extra: frozenset[str]) -> Iterator[Fault]:
    at = expression.at
    for path in expression.paths:
        root, *rest = path.names
        if not rest:
            continue
        if root == "webhook":
            fields = body_fields(rule.types)
            if rest[0] == "data" and len(rest) > 1 and rest[1] not in fields and not path.asked:
                yield Fault(at, f"no sample of these types has data.{rest[1]}{meant(rest[1], fields)}", "warning")
            continue
        if root == "event":
            concerned = events_of(rule.types, rule.events)
            if not concerned:
                yield Fault(at, "event is never there: these types have no event by default")
                continue
            known = sent_names(attributes_of(concerned))
        else:
            known = sent_names(PROFILE)
        if not _is_known(rest[0], known | extra):
            yield Fault(
                at, f"{root} has no '{rest[0]}'{meant(rest[0], known)} (expressions see what the default mapping makes)"
            )


def _money(expression: Expression) -> Iterator[Fault]:
    if not any(word.kind == "sign" and word.text in ARITHMETIC for word in expression.words):
        return
    has_floats = any(
        (word.kind == "number" and not word.text.rstrip("uU").isalnum()) or word.text == "double"
        for word in expression.words
    )
    divides = any(word.text in {"/", "%"} for word in expression.words)
    for path in expression.paths:
        name = path.names[-1]
        is_money = name.endswith("_minor") or (path.names[0] == "webhook" and MONEY_OF_BODY.match(name) is not None)
        if name.endswith("_value"):
            yield Fault(
                expression.at,
                f"arithmetic on {path}, a binary fraction: cents get lost. Compute with {name.removesuffix('_value')}"
                "_minor (whole minor units), and show the text form",
                "warning",
            )
        elif is_money and has_floats:
            yield Fault(
                expression.at,
                f"{path} is a whole number of minor units, and this computes with binary fractions: cents get lost",
                "warning",
            )
        elif is_money and divides:
            yield Fault(
                expression.at,
                f"{path} is divided as a whole number: 4999 / 100 is 49. Currencies have 0 to 4 decimals; the text "
                "form of the attribute is exact",
                "warning",
            )


def _trial(rule: Rule) -> Iterator[Fault]:
    """Evaluate every expression on all that it may see; a fault for the first failure of each."""
    told: set[int] = set()
    for where, scope in scopes(rule.types, rule.events) if rule.expressions else ():
        if rule.when is not None and id(rule.when) not in told:
            try:
                rule.when.holds(scope)
            except ShapingError as error:
                told.add(id(rule.when))
                yield Fault(rule.when.at, f"{_of(error)} (on {where})")
        for setting in rule.settings:
            if not isinstance(setting.value, Expression) or id(setting.value) in told:
                continue
            try:
                value = setting.value.value(scope)
                if value is not MISSING:
                    check_attributes({setting.name: value}, "this rule")
            except ShapingError as error:
                told.add(id(setting.value))
                yield Fault(setting.value.at, f"{_of(error)} (on {where})")


def _of(error: ShapingError) -> str:
    """The error's message without its place, which the fault has."""
    text = str(error)
    return text.removeprefix(f"{error.place}: ") if error.place is not None else text


def _constants(rule: Rule) -> Iterator[Fault]:
    for setting in rule.settings:
        if isinstance(setting.value, Constant):
            value: Any = setting.value.value
            if isinstance(value, float) and not math.isfinite(value):
                yield Fault(setting.at, "no number: quote it if it is text")
    for setting in (*rule.event.set, *(one for addition in rule.add for one in addition.set)):
        if setting.value == Constant(None):
            yield Fault(
                setting.at, "an event has no attribute that is null: drop leaves one out; on profile null removes one"
            )


def _conflicts(rules: list[Rule]) -> Iterator[Fault]:
    """Pairs of rules of which the second has no effect, or undoes the first."""
    for index, later in enumerate(rules):
        for earlier in rules[:index]:
            if not earlier.meets(later) or not _may_both_hold(earlier, later):
                continue
            severity: Severity = "error" if _hold_alike(earlier, later) else "warning"
            yield from losses.in_two(earlier, later, severity)
            if later.rename is not None and earlier.rename is not None:
                yield Fault(
                    later.rename_at or later.at,
                    f"two rules rename the same event: the one at line {(earlier.rename_at or earlier.at).line} makes "
                    f"it '{earlier.rename}', this one '{later.rename}', and the last one wins",
                    severity,
                )
            keys = {one.key for one in earlier.add}
            for addition in later.add:
                if addition.key in keys:
                    yield Fault(
                        addition.at,
                        f"two rules add an event with the key '{addition.key}', and their ids would change places: "
                        "give this one a key of its own (key: …)",
                        severity,
                    )
            if "event" in earlier.drop and earlier.when is None and (later.rename is not None or later.event):
                yield Fault(later.at, f"the rule at line {earlier.at.line} has dropped these events already", "warning")


def _hold_alike(one: Rule, other: Rule) -> bool:
    """Whether both have the same condition, or none."""
    return (one.when.source if one.when is not None else None) == (
        other.when.source if other.when is not None else None
    )


def _may_both_hold(one: Rule, other: Rule) -> bool:
    """Whether one webhook may meet both: not if they compare the same path with different texts, as for brands."""
    if one.when is None or other.when is None:
        return True
    first, second = _equalities(one.when), _equalities(other.when)
    return not any(path in second and second[path] != text for path, text in first.items())


def _equalities(expression: Expression) -> dict[str, str]:
    if any(word.text in {"||", "?", "!"} for word in expression.words):
        return {}
    found = {}
    words = expression.words
    ends = {path.end: str(path) for path in expression.paths if not path.asked}
    for index, word in enumerate(words[:-2]):
        if word.end in ends and words[index + 1].text == "==" and words[index + 2].kind in {"text", "number"}:
            found[ends[word.end]] = words[index + 2].text
    return found
