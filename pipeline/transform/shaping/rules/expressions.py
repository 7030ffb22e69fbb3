"""CEL, the expression language of Kubernetes: compiled once, fed with what it asks for and no more.

The library (`docs/adr/0003-cel.md`) copies each variable into its own values at each evaluation, and a webhook's body
is large. So paths such as `event.currency` are found when an expression is compiled, and each becomes a variable of its
own. A condition that is a plain comparison, or several joined by `&&`, is answered here; wherever a value is not of the
kind that the comparison expects, the library decides, so its rules are CEL's.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import cel

from pipeline.errors import ShapingError
from pipeline.transform.shaping.rules.document import At, meant
from pipeline.transform.shaping.types import Attributes, Webhook

ROOTS: Final = ("webhook", "event", "profile")
"""The variables."""

WEBHOOK: Final = ("type", "id", "mode", "event_ms", "received_ms", "timestamp", "business_id", "data")
"""Members of `webhook`."""

MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})

FUNCTIONS: Final = frozenset(
    {
        *MACROS, "has", "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string",
        "bytes", "timestamp", "duration", "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate",
        "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
    }
)  # fmt: skip
"""Of the CEL specification. `type` and `dyn` are left out: `==` of unlike values is false."""

MAX_NESTING: Final = 2
"""Macros inside each other: over a list of 1,000 members two take a million steps, and three would stop the flow."""

MISSING: Final = object()
"""What a path gives that leads nowhere, or to null: Dodo sends either where there is nothing."""

_MISSING_VARIABLE: Final = re.compile(r"Undefined variable or function: '_v\d+'")

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<text>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+|\d+[eE][+-]?\d+|\d+[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A word of an expression: `kind` is text, number, name or sign."""

    kind: str
    text: str
    start: int
    end: int


class Path(NamedTuple):
    """`event.currency` at one place of an expression; `asked`: inside `has(…)`, of which it is then the whole."""

    names: tuple[str, ...]
    start: int
    end: int
    asked: bool

    def __str__(self) -> str:
        return ".".join(self.names)


class Scope(NamedTuple):
    """What an expression sees: what the default mapping made of the webhook; None where it made none."""

    webhook: Webhook
    event: Attributes | None
    profile: Attributes | None


class ExpressionFault(Exception):  # noqa: N818 - it is told as a fault
    """An expression that cannot be compiled; the message says why."""


Get = Callable[[Scope], Any]


def tokens(source: str) -> list[Token]:
    """The words of an expression.

    Raises:
        ExpressionFault: a character that no word begins with.
    """
    found: list[Token] = []
    place = 0
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            raise ExpressionFault(f"column {place + 1} of the expression: unexpected {source[place]!r}")
        place = match.end()
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group(), match.start(), match.end()))
    return found


def paths(words: list[Token]) -> Iterator[Path]:
    """Where an expression speaks of its variables."""
    for index, word in enumerate(words):
        before = words[index - 1].text if index else ""
        if word.kind != "name" or word.text not in ROOTS or before == ".":
            continue
        after = index + 1
        if _sign(words, after) in {"(", "{"}:
            continue
        names, end = [word.text], word.end
        while _sign(words, after) == "." and after + 1 < len(words) and words[after + 1].kind == "name":
            if _sign(words, after + 2) in {"(", "{"}:
                break  # a method of what was found so far
            names.append(words[after + 1].text)
            end = words[after + 1].end
            after += 2
        asked = index >= 2 and words[index - 1].text == "(" and words[index - 2].text == "has"  # noqa: PLR2004
        asked = asked and _sign(words, after) == ")" and len(names) > 1
        start = words[index - 2].start if asked else word.start
        yield Path(tuple(names), start, words[after].end if asked else end, asked)


def _sign(words: list[Token], index: int) -> str:
    return words[index].text if index < len(words) and words[index].kind == "sign" else ""


class Expression:
    """A compiled expression of the rules file.

    Args:
        source: CEL.
        at: where it stands.
        file: the file's name, for messages.

    Raises:
        ExpressionFault: it is no CEL, or speaks of what does not exist.
    """

    __slots__ = ("_file", "_inputs", "_path", "_program", "_terms", "at", "paths", "source", "words")

    def __init__(self, source: str, at: At, file: str) -> None:
        self.source, self.at, self._file = source, at, file
        try:
            cel.compile(source)
        except ValueError as error:
            raise ExpressionFault(f"no CEL: {_syntax(str(error))}") from None
        self.words = tokens(source)
        self.paths = tuple(paths(self.words))
        _check_names(self.words, self.paths)
        inputs: dict[str, Get] = {}
        rewritten, place = [], 0
        for path in self.paths:
            name = f"_v{len(inputs)}"
            inputs[name] = presence(path.names) if path.asked else getter(path.names)
            rewritten += [source[place : path.start], name]
            place = path.end
        self._program = cel.compile("".join((*rewritten, source[place:])))
        unknown = set(self._program.variables()) - set(inputs) - _bound(self.words)
        if unknown:
            name = min(unknown)
            raise ExpressionFault(f"unknown variable '{name}'{meant(name, ROOTS)}; there are {', '.join(ROOTS)}")
        self._inputs = tuple(inputs.items())
        self._terms = _plain_terms(self.words, self.paths)
        alone = len(self.paths) == 1 and not self.paths[0].asked and source.strip() == str(self.paths[0])
        self._path = getter(self.paths[0].names) if alone else None

    @property
    def test(self) -> Term:
        """`holds`, or the one comparison that the expression is, which answers without a detour, or says None."""
        return self._terms[0] if self._terms is not None and len(self._terms) == 1 else self.holds

    @property
    def place(self) -> str:
        """File, line and column."""
        return f"{self._file}:{self.at.line}:{self.at.column}"

    def holds(self, scope: Scope) -> bool:
        """Whether it is true; what speaks of something that is not there is not.

        Raises:
            ShapingError: it is neither true nor false, or cannot be worked out.
        """
        if self._terms is not None:
            for term in self._terms:
                answer = term(scope)
                if answer is None:
                    break
                if answer is not True:
                    return False
            else:
                return True
        value = self.value(scope)
        if value is MISSING:
            return False
        if type(value) is not bool:
            raise ShapingError(f"{self.place}: the condition gives a {type(value).__name__}, not true or false",
                               place=self.place)  # fmt: skip
        return value

    def value(self, scope: Scope) -> Any:
        """What it gives; `MISSING` where it speaks of something that is not there.

        Raises:
            ShapingError: it cannot be worked out.
        """
        if self._path is not None:
            return self._path(scope)
        try:
            return self._program.execute(
                {name: value for name, get in self._inputs if (value := get(scope)) is not MISSING}
            )
        except (KeyError, IndexError):
            return MISSING
        except RuntimeError as error:
            if _MISSING_VARIABLE.search(str(error)):
                return MISSING
            raise self._failed(error) from None
        except Exception as error:  # noqa: BLE001 - whatever the library raises, it is this rule's failure
            raise self._failed(error) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # the library's own bug, and no reason to end the worker
                raise
            raise self._failed(error) from None

    def _failed(self, error: BaseException) -> ShapingError:
        return ShapingError(f"{self.place}: {self.source!r} cannot be worked out: {why(error)}", place=self.place)


def why(error: BaseException) -> str:
    """Why an evaluation failed, without a value of the body."""
    match error:
        case TypeError():
            return "the kinds of its values do not fit together (CEL converts nothing by itself: int(x), string(x))"
        case OverflowError():
            return "a number beyond 64 bits"
        case ZeroDivisionError():
            return "a division by zero"
        case RuntimeError() if (found := re.search(r"variable or function: '(\w+)'", str(error))) is not None:
            return f"{found[1]} cannot be asked of such a value"
        case _:
            return type(error).__name__


def getter(names: tuple[str, ...]) -> Get:
    """How to come by the value at a path."""
    root, *rest = names
    if root == "webhook":
        return _of_webhook(rest)
    if root == "event":
        return _of_event(rest[0]) if len(rest) == 1 else lambda scope: walk(scope.event, rest)
    return _of_profile(rest[0]) if len(rest) == 1 else lambda scope: walk(scope.profile, rest)


def _of_event(name: str) -> Get:
    def get(scope: Scope) -> Any:
        value = scope.event.get(name) if scope.event is not None else None
        return MISSING if value is None else value

    return get


def _of_profile(name: str) -> Get:
    def get(scope: Scope) -> Any:
        value = scope.profile.get(name) if scope.profile is not None else None
        return MISSING if value is None else value

    return get


def presence(names: tuple[str, ...]) -> Get:
    """`has(…)` of a path."""
    get = getter(names)
    return lambda scope: get(scope) is not MISSING


def walk(value: Any, names: list[str]) -> Any:
    """The member at a path of objects, `MISSING` where there is none, or null."""
    for name in names:
        if type(value) is not dict and not isinstance(value, Mapping):  # the latter costs ten times the former
            return MISSING
        value = value.get(name)
    return MISSING if value is None else value


def _there(value: Any) -> Any:
    return MISSING if value is None else value


def _of_webhook(names: list[str]) -> Get:
    if not names:
        return lambda scope: _whole(scope.webhook)
    first, *rest = names
    match first:
        case "type" | "id" | "mode" | "event_ms" | "received_ms":
            return lambda scope: _there(getattr(scope.webhook, first))
        case "data" if len(rest) == 1:
            name = rest[0]
            return lambda scope: _there(scope.webhook.data.get(name))
        case _:
            return lambda scope: walk(scope.webhook.body, names)


def _whole(webhook: Webhook) -> dict[str, Any]:
    told = {"type": webhook.type, "id": webhook.id, "mode": webhook.mode, "event_ms": webhook.event_ms}
    if webhook.received_ms is not None:
        told["received_ms"] = webhook.received_ms
    return {**webhook.body, **told}


# What is checked when it is compiled.


def _syntax(message: str) -> str:
    """The library's words for a syntax error, without the drawing."""
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", message)
    if found is None:
        return message.partition("\n")[0]
    says = re.sub(r" expecting \{.*", "", found[3])
    return f"{says.removeprefix('Syntax error: ')} at line {found[1]}, column {found[2]} of the expression"


def _check_names(words: list[Token], found: tuple[Path, ...]) -> None:
    for index, word in enumerate(words):
        if word.text == "null" and {"==", "!="} & {_sign(words, index - 1), _sign(words, index + 1)}:
            raise ExpressionFault("null is as good as absent here: ask has(…) or !has(…)")
        if word.kind != "name" or _sign(words, index + 1) != "(":
            continue
        if word.text not in FUNCTIONS:
            raise ExpressionFault(f"unknown function '{word.text}'{meant(word.text, FUNCTIONS)}")
        if word.text in MACROS and index + 2 < len(words) and words[index + 2].text in ROOTS:
            raise ExpressionFault(f"'{words[index + 2].text}' is taken: call the variable of {word.text} otherwise")
    if _nesting(words) > MAX_NESTING:
        raise ExpressionFault(
            f"more than {MAX_NESTING} of {', '.join(sorted(MACROS))} inside each other: long lists take minutes"
        )
    for path in found:
        if path.names[0] == "webhook" and len(path.names) > 1 and path.names[1] not in WEBHOOK:
            raise ExpressionFault(
                f"webhook has no '{path.names[1]}'{meant(path.names[1], WEBHOOK)}; it has {', '.join(WEBHOOK)}"
            )


def _nesting(words: list[Token]) -> int:
    deepest, inside = 0, []
    for index, word in enumerate(words):
        if word.kind == "sign" and word.text == "(":
            inside.append(index > 0 and words[index - 1].text in MACROS)
            deepest = max(deepest, sum(inside))
        elif word.kind == "sign" and word.text == ")" and inside:
            inside.pop()
    return deepest


def _bound(words: list[Token]) -> set[str]:
    """Variables of macros: `x` of `list.exists(x, …)`."""
    return {
        words[index + 2].text
        for index, word in enumerate(words[:-2])
        if word.text in MACROS and _sign(words, index + 1) == "("
    }


# Plain comparisons, answered without the library.

COMPARES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Term = Callable[[Scope], bool | None]
"""True, False, or None where the library has to decide. A path that leads nowhere is False: then nothing holds."""


def _plain_terms(words: list[Token], found: tuple[Path, ...]) -> tuple[Term, ...] | None:
    """`a == 'x' && b > 5 && has(c)` as functions; None for whatever is not of that form."""
    starts = {path.start: path for path in found}
    terms: list[Term] = []
    index = 0
    while index < len(words):
        if terms:
            if words[index].text != "&&":
                return None
            index += 1
        negated = _sign(words, index) == "!"
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
    if sign == "in" and _sign(words, index + 1) == "[":
        values, index = [], index + 2
        while index < len(words) and (value := _literal(words[index])) is not MISSING and type(value) is str:
            values.append(value)
            index += 1
            if _sign(words, index) != ",":
                break
            index += 1
        if not values or _sign(words, index) != "]":
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
    return of_event if root == "event" else of_profile  # the commonest, without a call of their own
