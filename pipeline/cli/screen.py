"""Prints text: lines that never break inside a word, and values that can neither control a terminal nor fill it.

On a terminal lines are wrapped between words to its width, and continued under where they began. A pipe or a file gets
each line whole, for grep.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import streams

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

UNBOUNDED = 100_000
"""Columns of a pipe or a file: a record is one line, for grep."""

LONGEST = 120
"""Characters of a value from outside in a table: ids and types have 20 to 40, reasons about a hundred. `dlq show` and
`--json` have all of it."""

LEAST_BESIDE = 30
"""Columns that a text needs beside its label to be readable; with fewer it is printed below."""

# What a terminal would obey instead of show: C0, DEL and C1 control characters, bidirectional overrides.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def output() -> Console:
    """Standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=UNBOUNDED)


def visible(text: str) -> str:
    """`text` with its control characters made visible."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text).replace("\n", " ")


def safe(text: str) -> str:
    """`text` of several lines with all other control characters made visible."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def cell(text: str) -> str:
    """A value from outside in a table: visible, and never wider than LONGEST."""
    text = visible(text[: LONGEST + 1])
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def line(console: Console, *parts: str | Text | tuple[str, str], indent: int = 0) -> None:
    """Print one paragraph; its further lines begin at column `indent`, so the text before that is its label."""
    from rich.cells import cell_len
    from rich.text import Text

    for text in Text.assemble(*parts).split("\n", allow_blank=True):
        if not console.is_terminal or text.cell_len <= console.width:
            console.print(text, soft_wrap=True)
            continue
        hang = indent if console.width - indent >= LEAST_BESIDE else 0
        longest = max(cell_len(word) for word in text.plain.split())
        if longest <= console.width:
            hang = min(hang, console.width - longest)
        first = text.wrap(console, console.width)[0]
        first.rstrip()
        console.print(first, soft_wrap=True)
        rest = text[len(first) :]
        rest = rest[len(rest) - len(rest.plain.lstrip(" ")) :]
        for part in rest.wrap(console, console.width - hang):
            part.rstrip()
            console.print(Text.assemble(" " * hang, part), soft_wrap=True)


def document(console: Console, text: str) -> None:
    """Print a JSON document, coloured; on a terminal a wrapped line keeps its indent."""
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    for one in safe(text).split("\n"):
        coloured = Text(one)
        JSONHighlighter().highlight(coloured)
        line(console, coloured, indent=len(one) - len(one.lstrip(" ")) + 4)


def say(text: str, *, indent: int = 0, err: bool = False) -> None:
    """Print a plain sentence on standard output or standard error; in one line where that is no terminal."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        if err:
            streams.complain(text)
            return
        stream.write(f"{text}\n")
        stream.flush()
        return
    from rich.console import Console

    line(Console(file=stream, highlight=False, markup=False), text, indent=indent)


def columns(console: Console, headers: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> bool:
    """Print a table with one line a row, if it fits; return False, with nothing printed, if it does not.

    The last column may be wrapped to half of its width, others are never wrapped. In a pipe a row is a line.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        whole = number < len(headers) - 1 or not console.is_terminal
        table.add_column(header, no_wrap=whole, overflow="fold")
    cells = [[part if isinstance(part, Text) else Text(part) for part in row] for row in rows]
    for row in cells:
        table.add_row(*row)
    if console.is_terminal:
        fixed = sum(
            max((len(headers[number]), *(part.cell_len for part in column))) + 1
            for number, column in enumerate(list(zip(*cells, strict=True))[:-1])
        )
        last = max((len(headers[-1]), *(row[-1].cell_len for row in cells)))
        words = max((len(word) for row in cells for word in row[-1].plain.split()), default=0)
        if console.width - fixed < max(words, min(last, LEAST_BESIDE)):
            return False
    console.print(table)
    return True
