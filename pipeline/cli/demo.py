"""`dodo-cio demo`: the whole chain on simulated traffic, with a table that must reconcile."""

from __future__ import annotations

from typing import Annotated

import typer

MIN_WEBHOOKS = 50
"""With fewer webhooks the shop may have no forged or repeated one to show."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=HELP)(demo)


HELP = """Run the whole chain on simulated traffic and prove the result.

Starts a local Apache Kafka, the Customer.io sandbox, ingest, transform and sink on free ports; posts a simulated
shop's signed webhooks; then compares what every place holds with what the shop knows. Stops all that it started.
PIPELINE_KAFKA_BOOTSTRAP_SERVERS, when set, is used instead of a local broker (topics of its own, deleted after).

Exit codes: 0 every number reconciles, 1 one does not or no broker answers, 2 something is missing
(Java, Maven).

Examples:

    dodo-cio demo

    dodo-cio demo --webhooks 20000

    dodo-cio demo --json | jq .ok

    dodo-cio demo --keep
"""


def demo(
    *,
    webhooks: Annotated[int, typer.Option(min=MIN_WEBHOOKS, help="How many webhooks to send.")] = 5_000,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Partitions of each topic.")] = 4,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Run it; typer shows HELP."""
    from pipeline.demo.stage import perform

    raise typer.Exit(perform(webhooks=webhooks, partitions=partitions, keep=keep, as_json=as_json))
