"""`dodo-cio state restore-topic`: writes local stores back into a topic that lost what they hold."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.screen import say
from pipeline.errors import InputError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.transform.customers.topic_return import PartitionReturn


def restore_topic(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write the local mirrors of the customers' state back into the topic, where that lost what they hold.

    For a topic that was deleted and created again, emptied, or cut: the transform refuses to start then, and says so.
    Run it with every transform stopped, in each place that has mirrors (PIPELINE_DATA_DIR), after the topic was created
    with as many partitions as it had. Only what the topic lacks is written; what was taken away there, and customers
    who were forgotten there, stay away. Run again after an interruption, it writes the rest.

    Exit codes: 0 the topic has all that the mirrors hold, 1 it failed or was not confirmed, 2 something must be changed
    (or `--yes` is missing without a terminal).

    **Examples**

    dodo-cio state restore-topic --dry-run

    dodo-cio state restore-topic --yes --json
    """
    from pipeline.cli.preparation import prepare_state

    raise typer.Exit(_perform(prepare_state(), dry_run=dry_run, yes=yes, as_json=as_json))


def _perform(settings: Settings, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from pipeline.transform.customers import topic_return

    partitions = topic_return.partitions_on_disk(settings)
    if not partitions:
        raise InputError(
            f"PIPELINE_DATA_DIR: there are no mirrors of {settings.customers_topic} under "
            f"{topic_return.directory_of(settings)}: run this where a transform has run"
        )
    if not (yes or dry_run or sys.stdin.isatty()):
        raise InputError("without a terminal nobody can be asked: add --yes, or --dry-run to see what would be done")
    asyncio.run(topic_return.check(settings, partitions))
    with topic_return.opened(settings, partitions) as stores:
        compared = asyncio.run(topic_return.compare(settings, stores))
        returns = {number: one for number, (one, _) in compared.items()}
        missing = sum(one.missing for one in returns.values())
        if dry_run or not missing:
            _say(settings, returns, written=0, as_json=as_json)
            return 0
        if not as_json:
            _say(settings, returns, written=None, as_json=False)
        if not yes and not typer.confirm(f"Write {missing:,} facts to {settings.customers_topic}?", err=True):
            return 1
        with Progress(console=Console(stderr=True, quiet=as_json or not sys.stderr.isatty())) as bar:
            task = bar.add_task("writing", total=missing)
            for number, (_, facts) in compared.items():
                asyncio.run(topic_return.write(settings, stores[number], facts, partial(bar.advance, task)))
        _say(settings, returns, written=missing, as_json=as_json)
    return 0


def _say(settings: Settings, returns: Mapping[int, PartitionReturn], *, written: int | None, as_json: bool) -> None:
    if as_json:
        document = {
            "topic": settings.customers_topic,
            "partitions": [asdict(one) for _, one in sorted(returns.items())],
            "missing": sum(one.missing for one in returns.values()),
            "written": written,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    if written:
        say(f"{written:,} facts were written to {settings.customers_topic}: transforms can start")
        return
    for number, one in sorted(returns.items()):
        say(
            f"{settings.customers_topic}/{number}: {one.facts:,} facts in the mirror, {one.records:,} records in the "
            f"topic, {one.missing:,} missing there"
        )
    if written == 0 and not any(one.missing for one in returns.values()):
        say("Nothing to do: the topic has all that the mirrors hold")
