"""The changes that rules make to attributes, as functions that are built once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any

from pipeline.errors import ShapingError
from pipeline.transform.shaping.applied import check_attributes
from pipeline.transform.shaping.rules.catalogue import forms
from pipeline.transform.shaping.rules.expressions import Expression
from pipeline.transform.shaping.rules.model import Changes, Constant, Renaming, Setting, Target
from pipeline.transform.shaping.rules.scope import MISSING, Scope

Change = Callable[[dict[str, Any], Scope], None]
"""Changes the attributes in place; the scope is what the default mapping made."""


def changes_of(changes: Changes, target: Target, file: str) -> tuple[Change, ...]:
    """The functions that change the attributes of an event or a profile, in their order; `file` is for messages."""
    made: list[Change] = []
    if changes.rename:
        made.append(_renames(moves(changes.rename, target), file))
    if changes.drop:
        made.append(_drops([one.pattern for one in changes.drop], target))
    return (*made, *settings_of(changes.set, target))


def moves(renamings: Iterable[Renaming], target: Target) -> dict[str, tuple[str, Renaming]]:
    """The new name of each attribute that these rename, its forms among them; a form that is named goes by its own."""
    found = {
        name: (f"{one.new}{name.removeprefix(one.old)}", one) for one in renamings for name in forms(one.old, target)
    }
    return {**found, **{one.old: (one.new, one) for one in renamings}}


def _renames(moved: Mapping[str, tuple[str, Renaming]], file: str) -> Change:
    """All at once, so that two attributes can change names; what is there and keeps its name is not overwritten."""
    pairs = [(old, new, f"{file}:{one.at.line}:{one.at.column}") for old, (new, one) in moved.items()]

    def change(attributes: dict[str, Any], _scope: Scope) -> None:
        taken = [(new, attributes.pop(old), place) for old, new, place in pairs if old in attributes]
        for new, value, place in taken:
            if new in attributes:
                raise ShapingError(f"{place}: '{new}' is there already, and would be lost", place=place)
            attributes[new] = value

    return change


def _drops(patterns: list[str], target: Target) -> Change:
    names = sorted({name for pattern in patterns if "*" not in pattern for name in forms(pattern, target)})
    wild = [translate(pattern) for pattern in patterns if "*" in pattern]
    matches = re.compile("|".join(wild)).match if wild else None

    def change(attributes: dict[str, Any], _scope: Scope) -> None:
        for name in names:
            attributes.pop(name, None)
        if matches is not None:
            for name in [name for name in attributes if matches(name)]:
                del attributes[name]

    return change


def settings_of(settings: tuple[Setting, ...], target: Target) -> tuple[Change, ...]:
    """The functions that set attributes: one for all constants, then one for each computed value."""
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
    """Refuse values that exist in CEL but not in JSON: a timestamp, a duration, NaN."""
    try:
        check_attributes({name: value}, "this rule")
    except ShapingError as error:
        raise ShapingError(f"{expression.place}: {error}", place=expression.place) from None
