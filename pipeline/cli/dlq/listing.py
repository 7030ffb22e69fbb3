"""`dodo-cio dlq list`: a table for people, JSON Lines for programs."""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import Counter
from contextlib import aclosing
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from pipeline.cli import screen
from pipeline.cli.progress import reading
from pipeline.cli.screen import UNBOUNDED, output
from pipeline.deadletters.document import summary
from pipeline.deadletters.filters import Filter
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.survey import letters, read_history
from pipeline.settings import Settings

DEFAULT_LIMIT = 50
NUMBERS = ("attempts", "replays", "put back")

Row = tuple[int, int, int, dict[str, Any]]
"""When, partition, offset: the order of the table; then the letter's summary."""


def perform(
    settings: Settings, filter_: Filter, *, only_open: bool, limit: int | None, reveal: bool, as_json: bool
) -> None:
    """Print the letters that `filter_` selects."""
    if limit is None and not as_json:
        limit = DEFAULT_LIMIT
    listing = _Listing(limit)
    asyncio.run(_fill(listing, settings, filter_, only_open=only_open, reveal=reveal))
    if as_json:
        for row in listing.rows:
            _print_line(row)
    else:
        _print_table(listing, reveal=reveal)


class _Listing:
    """The newest `limit` rows, and counts of all; without a limit each row is printed at once as JSON."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._newest: list[Row] = []
        self.classes: Counter[str] = Counter()
        self.put_back = 0

    def add(self, at_ms: int, row: dict[str, Any]) -> None:
        self.classes[row["class"] or "no dead letter"] += 1
        self.put_back += bool(row["put_back"])
        if self._limit is None:
            _print_line(row)
            return
        entry = (at_ms, row["partition"], row["offset"], row)
        if len(self._newest) < self._limit:
            heapq.heappush(self._newest, entry)
        else:
            heapq.heappushpop(self._newest, entry)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for *_, row in sorted(self._newest, key=lambda entry: entry[:3])]


async def _fill(listing: _Listing, settings: Settings, filter_: Filter, *, only_open: bool, reveal: bool) -> None:
    async with open_letter_reader(settings) as reader:
        spans = await reader.since(filter_.since_ms)
        with reading(2 * sum(span.length for span in spans.values())) as told:
            history = await read_history(reader, spans, told)
            async with aclosing(letters(reader, spans, told)) as found:
                async for record, letter in found:
                    put_back = history.of(letter.identity)
                    if filter_.matches(letter) and not (only_open and put_back.times):
                        listing.add(letter.at_ms, summary(record, letter, put_back, reveal=reveal))


def _print_line(row: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode())


def _print_table(listing: _Listing, *, reveal: bool) -> None:
    console = output()
    rows = listing.rows
    total = listing.classes.total()
    if not total:
        console.print("No dead letters.")
        return
    cells = [_cells(row, reveal=reveal) for row in rows]
    table = _lines(cells)
    wanted = console.measure(table, options=console.options.update(max_width=UNBOUNDED)).maximum
    if console.is_terminal and wanted > console.width:
        table = _blocks(cells)
    console.print(table)
    console.print()
    classes = ", ".join(f"{count:,} {screen.cell(class_)}" for class_, count in listing.classes.most_common())
    screen.line(console, f"{total:,} dead letter{'s' if total > 1 else ''}: {classes}")
    if total > len(rows):
        screen.line(console, f"The newest {len(rows):,} are shown: --limit shows more")
    if listing.put_back:
        screen.line(console, f"{listing.put_back:,} were put back already: --open leaves them out")


def _lines(rows: list[dict[str, str]]) -> Table:
    """A table with a line for each letter."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table


def _blocks(rows: list[dict[str, str]]) -> Table:
    """A table with several lines for each letter, for a terminal of 80 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("when")
    table.add_column("letter", no_wrap=True)
    table.add_column("stage, class")
    table.add_column("type, customer, reason, source", overflow="fold", ratio=1)
    for row in rows:
        numbers = " · ".join(f"{name} {row[name]}" for name in NUMBERS)
        table.add_row(
            Text(row["when"].replace(" ", "\n")),
            Text(row["letter"]),
            Text(f"{row['stage']}\n{row['class']}"),
            Text.assemble(
                f"{row['type']}\n{row['customer']}\n",
                (row["reason"], "bold"),
                (f"\n{row['source']}\n{numbers}\n", "dim"),
            ),
        )
    return table


def _cells(row: dict[str, Any], *, reveal: bool) -> dict[str, str]:
    contact = " ".join(filter(None, (row["name"], f"<{row['email']}>" if row["email"] else None))) if reveal else ""
    where = f" (field {row['field']})" if row["field"] else ""
    status = f" (status {row['status']})" if row["status"] is not None else ""
    cells = {
        "when": row["at"][:19].replace("T", " ") + "Z",
        "letter": row["letter"],
        "stage": row["stage"] or "?",
        "class": row["class"] or "?",
        "type": row["type"] or "?",
        "customer": " ".join(filter(None, (row["customer"] or "?", contact))),
        "reason": f"{row['reason'] or '?'}{where}{status}",
        "source": row["source"] or "?",
        "attempts": "?" if row["attempts"] is None else str(row["attempts"]),
        "replays": str(row["replays"]),
        "put back": str(row["put_back"]) if row["put_back"] else "no",
    }
    return {name: screen.cell(text) for name, text in cells.items()}
