"""Runs `dodo-cio backfill`: checks, asks for confirmation, reads and sends, reports."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.backfill.backfill import Backfill, Order
from pipeline.backfill.dates import span
from pipeline.backfill.journal import Journal, path_for
from pipeline.backfill.report import Report
from pipeline.cli.screen import line, output
from pipeline.cli.stopping import INTERRUPTED, stopping
from pipeline.dodo.api import Collection, RateLimit, open_api
from pipeline.errors import InputError, PipelineError
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.settings import Settings

SUBSECOND = 1
"""Seconds of the bar at least: a shorter range counts as one."""


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """The options of the command, as given."""

    since: str
    until: str | None
    what: str
    emit_identify: bool
    revive: bool
    rate: int
    resume: bool
    state_file: Path | None
    dry_run: bool
    yes: bool
    as_json: bool


def perform(settings: Settings, asked: BackfillOptions) -> int:
    """Run the backfill; return the exit code.

    Raises:
        InputError: an option cannot be used, or there is no terminal to confirm on and `yes` was not given.
        PipelineError: Dodo, the topics or the brokers fail; what was sent until then is noted.
    """
    since, until = span(asked.since, asked.until, datetime.now(UTC))
    order = Order(since, _collections(asked.what), asked.emit_identify, asked.revive)
    if not (asked.yes or asked.dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")
    asyncio.run(_check(settings))
    talk = Console(stderr=True, highlight=False) if asked.as_json else output()
    purpose = _purpose(settings, asked, order)
    path = None if asked.dry_run else asked.state_file or path_for(settings.data_dir, purpose)
    journal = Journal.open(path, purpose, until, afresh=not asked.resume)
    report = Report(order, journal, dry_run=asked.dry_run, path=path)
    finished = not journal.resumed
    try:
        if not (asked.yes or asked.dry_run) and not _agreed(settings, order, journal):
            talk.print("Nothing was sent.")
            return 1
        finished = False
        _carry_out(settings, asked, order, journal, report)
        finished = report.complete
        for text in report.sentences():
            line(talk, text, indent=2)
        if asked.as_json:
            document = orjson.dumps(report.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            sys.stdout.write(document.decode())
        ok = report.ok
    finally:
        journal.close(complete=finished)
    if report.error is not None:
        raise report.error
    if report.interrupted:
        return INTERRUPTED
    return 0 if ok else 1


async def _check(settings: Settings) -> None:
    """Check that the key, the address and the topic can be used, as far as is possible without sending anything."""
    async with open_api(settings):
        pass
    await check_topics(settings, {settings.webhooks_topic})


def _collections(what: str) -> tuple[Collection, ...]:
    known: tuple[Collection, ...] = get_args(Collection)
    names = [name.strip() for name in what.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(f"--what {what!r}: give some of {', '.join(known)}, comma-separated")
    # Always in this order: refunds name no customer, the payments before them do.
    return tuple(name for name in known if name in names)


def _purpose(settings: Settings, asked: BackfillOptions, order: Order) -> dict[str, object]:
    """The identity of a backfill, by which a later run finds its journal; without the end of an open range."""
    return {
        "from": order.since.isoformat(),
        "to": asked.until,
        "what": list(order.what),
        "emit": order.emit_identify,
        "revive": order.revive,
        "topic": settings.webhooks_topic,
        "brokers": settings.kafka_bootstrap_servers,
        "api": settings.dodo_api_url,
    }


def _agreed(settings: Settings, order: Order, journal: Journal) -> bool:
    verb = "Go on reading" if journal.resumed else "Read"
    return typer.confirm(
        f"{verb} {', '.join(order.what)} created from {order.since:%Y-%m-%d %H:%M} to {journal.until:%Y-%m-%d %H:%M} "
        f"(UTC) and send them as commands to topic {settings.webhooks_topic}?",
        err=True,
    )


def _carry_out(settings: Settings, asked: BackfillOptions, order: Order, journal: Journal, report: Report) -> None:
    try:
        asyncio.run(_bring_over(settings, asked, order, journal, report))
    except PipelineError as error:
        report.error = error
    except (KeyboardInterrupt, asyncio.CancelledError):
        report.interrupted = True


async def _bring_over(
    settings: Settings, asked: BackfillOptions, order: Order, journal: Journal, report: Report
) -> None:
    producer = None if asked.dry_run else BatchProducer(settings)
    async with open_api(settings, rate=RateLimit.of_account(asked.rate)) as api:
        try:
            with stopping(), _bar(order, journal) as told:
                if producer is not None:
                    await producer.start()
                    await producer.prime(settings.webhooks_topic)
                await Backfill(order, api, journal, settings.webhooks_topic, producer, told=told).run()
        finally:
            report.requests = api.requests
            if producer is not None:
                await producer.stop()


@contextmanager
def _bar(order: Order, journal: Journal) -> Iterator[Callable[[Collection, datetime], None]]:
    """A bar on standard error if that is a terminal; it shows time, since the number of objects is unknown."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    length_s = max(SUBSECOND, int((journal.until - order.since).total_seconds()))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("Reading", total=length_s * len(order.what))

        def told(collection: Collection, done: datetime) -> None:
            progress.update(
                task,
                description=f"{collection} until {done:%Y-%m-%d}: {journal.objects(collection):,}",
                completed=order.what.index(collection) * length_s + int((done - order.since).total_seconds()),
            )

        yield told
