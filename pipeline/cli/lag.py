"""`dodo-cio lag`: shows how far behind the two groups are."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.numbers import finite
from pipeline.cli.preparation import prepare
from pipeline.cli.screen import say
from pipeline.errors import BrokerUnreachableError, InputError
from pipeline.interruption import until_told
from pipeline.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.kafka.cluster.lag import GroupLag
    from pipeline.kafka.cluster.pace import Pace, Throughput

Reading = tuple[Sequence["GroupLag"], Mapping[tuple[str, str], "Pace"]]
"""The groups, and the pace of each since the last reading."""


SPEEDS = ("arrive", "done", "drained in")
"""The columns that a second reading adds."""

PATIENCE_S = 5.0
"""Seconds for the brokers to answer: a person watches; no answer is shown too, and the next reading may get one."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lag")(lag)


def lag(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Read again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, callback=finite, help="Seconds between two readings of --watch.")
    ] = 2.0,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="You know of the lost records shown: stop showing them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one line a reading.")] = False,
) -> None:
    """Show how many records wait in each partition for the transform and the sink, and how old the first of them is.

    `seconds` is the age of the first record that is not done. What cannot be known is shown as unknown (JSON: null),
    never as 0. `held` counts records that nobody can read before a transaction ends that is open, `lost` those that the
    topic's retention deleted before they were processed: for a day, or until --acknowledge. Looking joins no group and
    commits nothing. With --watch, of each group and partition: records a second that arrive and are done, and the time
    until none waits (JSON: `arriving_per_second`, `done_per_second`, `drained_in_s`; null before the second reading,
    and the last one as well while no fewer arrive than are done).

    Exit codes: 0 read, 1 no broker could be used or nothing could be known of any partition, 2 something must be
    changed.

    Examples: `dodo-cio lag`, `dodo-cio lag --watch --interval 5`, `dodo-cio lag --json`, `dodo-cio lag --acknowledge`
    """
    if watch and acknowledge:
        raise InputError("--acknowledge is for what one reading shows: leave --watch out")
    settings = prepare()  # a client's messages about brokers are in the reading; on stderr they would break the table
    if watch:
        with suppress(asyncio.CancelledError):  # Ctrl-C ends it, which is no failure
            asyncio.run(until_told(_watch(settings, interval, as_json=as_json), again_s=1.0))
        return
    groups, acknowledged = asyncio.run(_once(settings, acknowledge=acknowledge))
    if as_json:
        typer.echo(json.dumps(as_dict(groups, {}), indent=2))
    else:
        _console().print(as_table(groups, {}))
        if acknowledge:
            say(f"\n{acknowledged:,} lost records are acknowledged and not shown again")
    if nothing_is_known(groups):
        raise typer.Exit(1)


async def _once(settings: Settings, *, acknowledge: bool) -> tuple[Sequence[GroupLag], int]:
    """One reading, and how many lost records of it were acknowledged."""
    from pipeline.kafka.cluster.lag_reader import flows_of, open_lag_reader

    async with open_lag_reader(settings) as reader:
        groups = await reader.read(flows_of(settings))
        return groups, await reader.acknowledge(groups) if acknowledge else 0


async def _watch(settings: Settings, interval: float, *, as_json: bool) -> None:
    if as_json:
        async for reading in _readings(settings, interval):
            text = {"unreachable": reading} if isinstance(reading, str) else as_dict(*reading)
            typer.echo(json.dumps(text))
            sys.stdout.flush()
        return
    from rich.live import Live

    with Live(console=_console(), auto_refresh=False) as live:
        async for reading in _readings(settings, interval):
            live.update(reading if isinstance(reading, str) else as_table(*reading), refresh=True)


async def _readings(settings: Settings, interval: float) -> AsyncIterator[Reading | str]:
    """A reading every `interval` seconds; while no broker answers, the reason. Only the first failure is raised."""
    from pipeline.kafka.cluster.lag_reader import flows_of, open_lag_reader
    from pipeline.kafka.cluster.pace import pace

    before: tuple[float, dict[tuple[str, str], GroupLag]] | None = None
    while True:
        try:
            async with open_lag_reader(settings, patience_s=PATIENCE_S) as reader:
                while True:
                    groups = await reader.read(flows_of(settings))
                    at, seen = time.monotonic(), {(group.group, group.topic): group for group in groups}
                    paces = {}
                    if before:
                        earlier, old = before
                        paces = {name: pace(old[name], group, at - earlier) for name, group in seen.items()}
                    before = at, seen
                    yield groups, paces
                    await asyncio.sleep(max(0.0, interval - (time.monotonic() - at)))
        except BrokerUnreachableError as error:
            if before is None:
                raise
            yield str(error)
            await asyncio.sleep(interval)


def as_dict(groups: Sequence[GroupLag], paces: Mapping[tuple[str, str], Pace]) -> dict[str, Any]:
    """The JSON form of one reading; null is unknown."""
    from pipeline.kafka.cluster.pace import Pace

    rows = []
    for group in groups:
        pace = paces.get((group.group, group.topic), Pace())
        row: dict[str, Any] = {
            "group": group.group,
            "topic": group.topic,
            "state": group.state,
            "members": group.members,
            "records": group.records,
            "seconds": group.seconds,
            "held": group.held,
            "lost": group.lost,
            "note": group.note,
            **asdict(pace.group),
        }
        row["partitions"] = [
            {name: value for name, value in asdict(partition).items() if name not in {"group", "topic"}}
            | asdict(pace.of(partition.partition))
            for partition in group.partitions
        ]
        rows.append(row)
    return {"at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), "groups": rows}


def nothing_is_known(groups: Sequence[GroupLag]) -> bool:
    """Whether no partition could be read."""
    return all(partition.records is None for group in groups for partition in group.partitions)


def _shared_note(group: GroupLag) -> str | None:
    """The note for several partitions of which nothing is known, printed once."""
    notes = {partition.note for partition in group.partitions}
    unknown = all(partition.records is None for partition in group.partitions)
    return notes.pop() if unknown and len(notes) == 1 and len(group.partitions) > 1 else None


def as_table(groups: Sequence[GroupLag], paces: Mapping[tuple[str, str], Pace]) -> RenderableType:
    """One table a group, the group's total above its partitions."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for group in groups:
        pace = paces.get((group.group, group.topic))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("partition", "committed", "end", "records", "seconds", *(SPEEDS if pace else ()), "note"):
            note = column == "note"
            table.add_column(column, justify="left" if note else "right", no_wrap=not note, overflow="fold")
        shared = _shared_note(group)
        for row in () if shared else group.partitions:
            table.add_row(
                str(row.partition),
                "never" if row.committed is None and row.records is not None else _count(row.committed),
                _count(row.end),
                _count(row.records),
                _seconds(row.seconds),
                *(_speeds(pace.of(row.partition)) if pace else ()),
                Text(row.note or "", style="yellow"),
            )
        head = Text(summary(group, pace.group if pace else None), style="bold")
        parts += [head, Text(f"all {len(group.partitions)} partitions: {shared}", "yellow") if shared else table, ""]
    return Group(*parts[:-1])


def summary(group: GroupLag, speed: Throughput | None) -> str:
    """One line about a group."""
    if group.members is None:
        who = "state unknown"
    elif group.members == 0:
        who = "no worker is running"
    else:
        who = f"{group.state}, {group.members} {'member' if group.members == 1 else 'members'}"
    text = (
        f"{group.group} on {group.topic} ({who}): {_count(group.records)} records, {_seconds(group.seconds)} s behind"
    )
    if group.held:
        text += f", {group.held:,} held back by an open transaction"
    if group.lost:
        text += f", {group.lost:,} LOST to the topic's retention"
    if group.note:
        text += f"; {group.note}"
    if speed and speed.done_per_second is not None and speed.arriving_per_second is not None:
        text += f"; {speed.arriving_per_second:,.0f}/s arrive, {speed.done_per_second:,.0f}/s done, "
        if speed.drained_in_s is None:
            text += "does not catch up"
        else:
            text += f"none waits in {speed.drained_in_s:,.0f} s" if speed.drained_in_s else "none waits"
    return text


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _speeds(speed: Throughput) -> tuple[str, str, str]:
    """The cells below SPEEDS."""
    if speed.done_per_second is None or speed.arriving_per_second is None:
        return "unknown", "unknown", "unknown"
    drained = "never" if speed.drained_in_s is None else f"{speed.drained_in_s:,.0f} s"
    return f"{speed.arriving_per_second:,.0f}/s", f"{speed.done_per_second:,.0f}/s", drained


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.1f}"


def _console() -> Any:
    from pipeline.cli.screen import output

    return output()
