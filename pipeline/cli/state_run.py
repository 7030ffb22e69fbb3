"""Runs `dodo-cio state repartition`, which is the last step of `dodo-cio topics apply --add-partitions` as well."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.cli.screen import say
from pipeline.cli.stopping import INTERRUPTED, stopping
from pipeline.errors import InputError
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.settings import Settings
from pipeline.statestore.partition_count import REPARTITION, partitions_now
from pipeline.transform.customers.repartition import Advanced, Repartition, Survey, check_quiet


@dataclass(frozen=True, slots=True)
class StateOptions:
    """The options of the command, as given."""

    dry_run: bool = False
    with_backlog: bool = False
    yes: bool = False
    as_json: bool = False


def perform(settings: Settings, asked: StateOptions) -> int:
    """Run the command; return the exit code.

    Raises:
        InputError: there is no terminal to confirm on and `yes` was not given.
        PipelineError: the topics, the brokers or the group do not allow it; the same command may be repeated.
    """
    if not (asked.yes or asked.dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")
    try:
        return asyncio.run(_perform(settings, asked))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(f"Interrupted. Nothing is lost; {REPARTITION} goes on, and no transform starts before.", err=True)
        return INTERRUPTED


async def _perform(settings: Settings, asked: StateOptions) -> int:
    await check_quiet(settings, with_backlog=asked.with_backlog or asked.dry_run)
    repartition = Repartition(settings, await partitions_now(settings))
    try:
        with stopping(), _bar() as told:
            survey = await repartition.read(told)
        moved = not (survey.is_settled or asked.dry_run)
        if moved:
            if not (asked.yes or _agreed(settings, survey)):
                say("Nothing was written.", err=True)
                return 1
            with stopping(), _bar() as told:
                await _move(settings, repartition, survey, told)
    finally:
        await repartition.close()
    _say(settings, survey, asked, moved=moved)
    return 0


async def _move(settings: Settings, repartition: Repartition, survey: Survey, told: Callable[[Advanced], None]) -> None:
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(settings.customers_topic)
        await repartition.move(producer, survey, told)
    finally:
        await producer.stop()


def _agreed(settings: Settings, survey: Survey) -> bool:
    return typer.confirm(
        f"Move {survey.to_move:,} of {survey.facts:,} facts in {settings.customers_topic} to their owners?", err=True
    )


def _say(settings: Settings, survey: Survey, asked: StateOptions, *, moved: bool) -> None:
    document = document_of(settings, survey, moved=moved)
    if asked.as_json:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
        return
    where = f"{survey.partitions} partitions of {settings.customers_topic}"
    if survey.kept_aside:
        say(f"{survey.kept_aside:,} records are no facts of this version; those of a customer move as they are")
    if moved:
        say(f"Moved {survey.to_move:,} of {survey.facts:,} facts; all lie at their owners in {where}")
    elif survey.is_settled:
        say(f"Nothing to do: {survey.facts:,} facts lie at their owners in {where}")
    else:
        say(f"Would move {survey.to_move:,} of {survey.facts:,} facts in {where}")
        for (source, target), count in sorted(survey.misplaced.items()):
            say(f"  {source} -> {target}: {count:,}")


def document_of(settings: Settings, survey: Survey, *, moved: bool) -> dict[str, Any]:
    """The JSON form."""
    return {
        "topic": settings.customers_topic,
        "partitions": survey.partitions,
        "written_under": {str(number): count for number, count in sorted(survey.written_under.items())},
        "facts": survey.facts,
        "customers": survey.customers,
        "kept_aside": survey.kept_aside,
        "to_move": survey.to_move,
        "moved": survey.to_move if moved else 0,
        "settled": moved or survey.is_settled,
    }


@contextmanager
def _bar() -> Iterator[Callable[[Advanced], None]]:
    """A bar on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, Any] = {}

        def told(event: Advanced) -> None:
            if event.phase not in tasks:
                tasks[event.phase] = progress.add_task(event.phase, total=event.total)
            progress.update(tasks[event.phase], completed=event.done)

        yield told
