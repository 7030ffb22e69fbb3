"""The tokens of a CEL expression, and the paths of variables in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

ROOTS: Final = ("webhook", "event", "profile")
"""The variables."""

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


class ExpressionFault(Exception):  # noqa: N818 - it becomes a `Fault` of the file
    """An expression cannot be compiled; the message has the reason."""


class Token(NamedTuple):
    """A token of an expression: `kind` is text, number, name or sign."""

    kind: str
    text: str
    start: int
    end: int


class Path(NamedTuple):
    """`event.currency` at one place of an expression; `asked`: it is the argument of `has(…)`."""

    names: tuple[str, ...]
    start: int
    end: int
    asked: bool

    def __str__(self) -> str:
        return ".".join(self.names)


def tokens(source: str) -> list[Token]:
    """The tokens of an expression.

    Raises:
        ExpressionFault: there is a character that begins no token.
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
    """The paths of an expression: each use of a variable, with its members."""
    for index, word in enumerate(words):
        before = words[index - 1].text if index else ""
        if word.kind != "name" or word.text not in ROOTS or before == ".":
            continue
        after = index + 1
        if sign_at(words, after) in {"(", "{"}:
            continue
        names, end = [word.text], word.end
        while sign_at(words, after) == "." and after + 1 < len(words) and words[after + 1].kind == "name":
            if sign_at(words, after + 2) in {"(", "{"}:
                break  # the name of a method that is called on the path so far
            names.append(words[after + 1].text)
            end = words[after + 1].end
            after += 2
        asked = index >= 2 and words[index - 1].text == "(" and words[index - 2].text == "has"  # noqa: PLR2004
        asked = asked and sign_at(words, after) == ")" and len(names) > 1
        start = words[index - 2].start if asked else word.start
        yield Path(tuple(names), start, words[after].end if asked else end, asked)


def sign_at(words: list[Token], index: int) -> str:
    """The token at `index` if it is a sign, else an empty text."""
    return words[index].text if index < len(words) and words[index].kind == "sign" else ""
