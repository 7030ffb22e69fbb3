"""Evaluates plain comparisons joined by `&&` without the CEL library; where types differ, the library decides."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.transform.shaping.rules.scope import MISSING, Get, Scope, getter
from pipeline.transform.shaping.rules.words import Path, Token, sign_at

COMPARES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Term = Callable[[Scope], bool | None]
"""True, False, or None where the library has to decide. Without a value at its path it is False: not met."""


def plain_terms(words: list[Token], found: tuple[Path, ...]) -> tuple[Term, ...] | None:
    """The parts of `a == 'x' && b > 5 && has(c)` as functions; None for an expression of any other form."""
    starts = {path.start: path for path in found}
    terms: list[Term] = []
    index = 0
    while index < len(words):
        if terms:
            if words[index].text != "&&":
                return None
            index += 1
        negated = sign_at(words, index) == "!"
        path = starts.get(words[index + negated].start) if index + negated < len(words) else None
        if path is None or (negated and not path.asked):
            return None
        while index < len(words) and words[index].start < path.end:
            index += 1
        if path.asked:
            terms.append(_asks(path.names, wanted=not negated))
            continue
        term, index = _comparison(path.names, words, index)
        if term is None:
            return None
        terms.append(term)
    return tuple(terms) if terms else None


def _asks(names: tuple[str, ...], *, wanted: bool) -> Term:
    get = getter(names)
    return lambda scope: (get(scope) is not MISSING) is wanted


def _comparison(names: tuple[str, ...], words: list[Token], index: int) -> tuple[Term | None, int]:
    if index >= len(words):
        return None, index
    sign = words[index].text
    if sign == "in" and sign_at(words, index + 1) == "[":
        values, index = [], index + 2
        while index < len(words) and (value := _literal(words[index])) is not MISSING and type(value) is str:
            values.append(value)
            index += 1
            if sign_at(words, index) != ",":
                break
            index += 1
        if not values or sign_at(words, index) != "]":
            return None, index
        return _among(getter(names), frozenset(values)), index + 1
    if sign not in {"==", "!=", "<", "<=", ">", ">="} or index + 1 >= len(words):
        return None, index
    value = _literal(words[index + 1])
    return (None if value is MISSING else _compared(names, sign, value)), index + 2


def _literal(word: Token) -> Any:
    if word.kind == "text" and word.text[0] in "'\"" and "\\" not in word.text and word.text[:3] not in {"'''", '"""'}:
        return word.text[1:-1]
    if word.kind == "number" and word.text.isdigit():
        return int(word.text)
    if word.text in {"true", "false"}:
        return word.text == "true"
    return MISSING


def _among(get: Get, values: frozenset[str]) -> Term:
    def term(scope: Scope) -> bool | None:
        value = get(scope)
        if type(value) is str:
            return value in values
        return False if value is MISSING else None

    return term


def _compared(names: tuple[str, ...], sign: str, literal: Any) -> Term:
    kind, compare = type(literal), COMPARES[sign]
    get, (root, name, *deeper) = getter(names), (*names, "")

    def of_event(scope: Scope) -> bool | None:
        value = scope.event.get(name) if scope.event is not None else None
        if type(value) is kind:
            return compare(value, literal)
        return False if value is None else None

    def of_profile(scope: Scope) -> bool | None:
        value = scope.profile.get(name) if scope.profile is not None else None
        if type(value) is kind:
            return compare(value, literal)
        return False if value is None else None

    def of_any(scope: Scope) -> bool | None:
        value = get(scope)
        if type(value) is kind:
            return compare(value, literal)
        return False if value is MISSING else None

    if any(deeper) or root == "webhook":
        return of_any
    return of_event if root == "event" else of_profile  # the most frequent: they read the value without a further call
