"""Expressions in CEL, the expression language of Kubernetes: each is compiled once, and gets only the values it reads.

The library (`docs/adr/0003-cel.md`) copies each variable into its own values at each evaluation, and a webhook's body
is large. So paths such as `event.currency` are found when an expression is compiled, and each becomes a variable of its
own. A condition that is a plain comparison, or several joined by `&&`, is evaluated by `comparisons`, all others by
the library. `words` finds the paths, `scope` their values.
"""

from __future__ import annotations

import re
from typing import Any, Final

import cel

from pipeline.errors import ShapingError
from pipeline.transform.shaping.rules.comparisons import Term, plain_terms
from pipeline.transform.shaping.rules.document import At, meant
from pipeline.transform.shaping.rules.scope import MISSING, Get, Scope, getter, presence
from pipeline.transform.shaping.rules.words import ROOTS, ExpressionFault, Path, Token, paths, sign_at, tokens

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
"""Macros inside each other: over lists of 1,000 members two take a million steps, and three would stop the flow."""

_MISSING_VARIABLE: Final = re.compile(r"Undefined variable or function: '_v\d+'")


class Expression:
    """A compiled expression of the rules file.

    Args:
        source: CEL.
        at: where it stands.
        file: the file's name, for messages.

    Raises:
        ExpressionFault: it is not CEL, or refers to something that does not exist.
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
        self._terms = plain_terms(self.words, self.paths)
        alone = len(self.paths) == 1 and not self.paths[0].asked and source.strip() == str(self.paths[0])
        self._path = getter(self.paths[0].names) if alone else None

    @property
    def test(self) -> Term:
        """The condition as a function: the comparison itself if the expression is only one, else `holds`.

        The comparison saves a call; it returns None where only `holds` can decide.
        """
        return self._terms[0] if self._terms is not None and len(self._terms) == 1 else self.holds

    @property
    def place(self) -> str:
        """File, line and column."""
        return f"{self._file}:{self.at.line}:{self.at.column}"

    def holds(self, scope: Scope) -> bool:
        """Whether the condition is true; it is false where a value that it reads is missing.

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
        """The value of the expression; `MISSING` where a value that it reads is missing.

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


def _syntax(message: str) -> str:
    """The library's words for a syntax error, without the drawing."""
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", message)
    if found is None:
        return message.partition("\n")[0]
    says = re.sub(r" expecting \{.*", "", found[3])
    return f"{says.removeprefix('Syntax error: ')} at line {found[1]}, column {found[2]} of the expression"


def _check_names(words: list[Token], found: tuple[Path, ...]) -> None:
    for index, word in enumerate(words):
        if word.text == "null" and {"==", "!="} & {sign_at(words, index - 1), sign_at(words, index + 1)}:
            raise ExpressionFault("null is as good as absent here: ask has(…) or !has(…)")
        if word.kind != "name" or sign_at(words, index + 1) != "(":
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
        if word.text in MACROS and sign_at(words, index + 1) == "("
    }
