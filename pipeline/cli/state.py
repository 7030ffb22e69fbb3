"""`dodo-cio state`: commands for the customers' state as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.state_restore import restore_topic


def register(app: typer.Typer) -> None:
    """Add `dodo-cio state`."""
    group = typer.Typer(
        no_args_is_help=True, help="What is known of customers, as a whole: move it to its owners, bring it back."
    )
    group.command("repartition")(repartition)
    group.command("restore-topic")(restore_topic)
    app.add_typer(group, name="state")


def repartition(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, and write nothing.")] = False,
    with_backlog: Annotated[
        bool,
        typer.Option(
            "--with-backlog",
            help="Go on although webhooks wait. They are sent on to their owners afterwards, behind what lies there.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON document.")] = False,
) -> None:
    """Move every fact of the customers' topic to the partition of its customer, after partitions were added.

    Totals, told events and requests to be forgotten are then exactly as before. Every transform must be stopped, and
    the webhooks must be read to their end: both are checked. Interrupted, the same command goes on; until it has come
    to its end no transform starts. Reads the whole topic, and needs the room of all mirrors in `PIPELINE_DATA_DIR`.

    Exit codes: 0 every fact lies at its owner (or would, with `--dry-run`), 1 it failed or was not confirmed, 2
    something must be changed (a transform runs, webhooks wait, or `--yes` is missing without a terminal), 130
    interrupted.

    **Examples**

    dodo-cio state repartition --dry-run

    dodo-cio state repartition --yes --json
    """
    from pipeline.cli.preparation import prepare_command
    from pipeline.cli.state_run import StateOptions, perform

    asked = StateOptions(dry_run=dry_run, with_backlog=with_backlog, yes=yes, as_json=as_json)
    raise typer.Exit(perform(prepare_command(), asked))
