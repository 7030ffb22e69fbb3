"""`dodo-cio backfill`: brings a shop's past into the customers' state."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Emit(StrEnum):
    """What is sent to Customer.io, if anything."""

    identify = "identify"


def register(app: typer.Typer) -> None:
    """Add `dodo-cio backfill`."""
    app.command("backfill")(backfill)


def backfill(
    *,
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="Created at or after: 2024-01-31, or a time.")],
    until: Annotated[
        Optional[str],
        typer.Option("--to", metavar="DATE", help="Created before; a date includes that day. [default: now]"),
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Of payments, refunds, subscriptions, customers; comma-separated. [default: all but customers]",
            show_default=False,
        ),
    ] = "payments,refunds,subscriptions",
    emit: Annotated[
        Optional[Emit], typer.Option(help="identify: also send each customer's profile, once, at the end.")
    ] = None,
    revive: Annotated[
        bool, typer.Option("--revive", help="Bring back customers who were forgotten (dodo-cio forget).")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests a minute to Dodo's API, at most 40 a second.")
    ] = 240,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where an earlier run with these options stopped.")
    ] = True,
    state_file: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Where a run notes how far it came. [default: in PIPELINE_DATA_DIR]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, send and note nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Read a shop's past from Dodo's API into the customers' state, so that totals are right from the first webhook.

    Needs `PIPELINE_DODO_API_KEY` (live mode; reading is enough). Each object becomes a command record in the webhooks
    topic, which the transform takes into the customer's state without emitting an event. What webhooks told already is
    not counted twice, and a webhook that comes later still emits its event. After Ctrl-C or a failure the same command
    goes on where it stopped. Dodo's rate is for the whole account: use `--rate` to leave some of it to your shop.

    Exit codes: 0 everything is sent, 1 it failed or some objects were left out, 2 something must be changed (or `--yes`
    is missing without a terminal), 130 stopped by Ctrl-C.

    **Examples**

    dodo-cio backfill --from 2024-01-01 --dry-run

    dodo-cio backfill --from 2024-01-01 --emit identify

    dodo-cio backfill --from 2026-01-01 --to 2026-03-31 --what refunds --rate 60 --yes --json
    """
    from pipeline.cli.backfill_run import BackfillOptions, perform
    from pipeline.cli.preparation import prepare_command

    asked = BackfillOptions(
        since=since,
        until=until,
        what=what,
        emit_identify=emit is not None,
        revive=revive,
        rate=rate,
        resume=resume,
        state_file=state_file,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(perform(prepare_command(), asked))
