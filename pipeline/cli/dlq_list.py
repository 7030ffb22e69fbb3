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

from pipeline.cli.dlq_view import output, reading, visible
from pipeline.deadletters.document import summary
from pipeline.deadletters.filters import Filter
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.survey import letters, read_history
from pipeline.settings import Settings

DEFAULT_LIMIT = 50

Row = tuple[int, int, int, dict[str, Any]]
"""When, partition, offset: the order of the table; then the letter's summary."""


def perform(
    settings: Settings, filter_: Filter, *, only_open: bool, limit: int | None, reveal: bool, as_json: bool
) -> None:
    """Print the letters that `filter_` means."""
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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("when", "letter", "stage", "class", "type", "customer"):
        table.add_column(column, no_wrap=column in {"letter", "stage"}, overflow="fold")
    table.add_column("reason", overflow="fold", ratio=1 if console.is_terminal else None)
    table.add_column("source", overflow="fold")
    for column in ("attempts", "replays", "put back"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in _cells(row, reveal=reveal)))
    console.print(table)
    console.print()
    classes = ", ".join(f"{count:,} {visible(class_)}" for class_, count in listing.classes.most_common())
    console.print(Text(f"{total:,} dead letter{'s' if total > 1 else ''}: {classes}"), soft_wrap=True)
    if total > len(rows):
        console.print(f"The newest {len(rows):,} are shown: --limit shows more", soft_wrap=True)
    if listing.put_back:
        console.print(f"{listing.put_back:,} were put back already: --open leaves them out", soft_wrap=True)


def _cells(row: dict[str, Any], *, reveal: bool) -> tuple[str, ...]:
    contact = " ".join(filter(None, (row["name"], f"<{row['email']}>" if row["email"] else None))) if reveal else ""
    where = f" (field {row['field']})" if row["field"] else ""
    status = f" (status {row['status']})" if row["status"] is not None else ""
    return (
        row["at"][:19].replace("T", " ") + "Z",
        row["letter"],
        row["stage"] or "?",
        row["class"] or "?",
        row["type"] or "?",
        " ".join(filter(None, (row["customer"] or "?", contact))),
        f"{row['reason'] or '?'}{where}{status}",
        row["source"] or "?",
        "?" if row["attempts"] is None else str(row["attempts"]),
        str(row["replays"]),
        str(row["put_back"]) if row["put_back"] else "no",
    )
