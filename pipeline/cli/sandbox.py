"""`dodo-cio sandbox`: a strict stand-in of Customer.io's Track API, to build campaigns' data against."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.numbers import finite


class Region(StrEnum):
    """The region of the workspace."""

    us = "us"
    eu = "eu"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sandbox")(sandbox)


def sandbox(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 takes any free one.")
    ] = 0,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    site_id: Annotated[Optional[str], typer.Option(help="The only site id to take. [default: any]")] = None,
    api_key: Annotated[Optional[str], typer.Option(help="The only API key to take. [default: any]")] = None,
    region: Annotated[Region, typer.Option(help="Where the workspace lives.")] = Region.us,
    wrong_region: Annotated[
        bool, typer.Option("--wrong-region", help="Play the other region's host: 301 for eu, 401 for us.")
    ] = False,
    rate_limit: Annotated[
        Optional[float],
        typer.Option(
            min=0.001,
            callback=finite,
            metavar="N",
            help="Requests in any second; more are answered 429. [default: none]",
        ),
    ] = None,
    retry_after: Annotated[
        Optional[str], typer.Option(help="Retry-After of those: seconds, or date+N for an HTTP date in N seconds.")
    ] = None,
    latency_ms: Annotated[
        float, typer.Option(min=0, callback=finite, metavar="N", help="Pause before each request is processed.")
    ] = 0.0,
    faults: Annotated[Optional[Path], typer.Option(help="Fault script, YAML or JSON.", metavar="FILE")] = None,
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Where the API's documentation contradicts itself, take the larger reading."),
    ] = False,
    no_email_updates: Annotated[
        bool, typer.Option("--no-email-updates", help="The workspace does not allow updates to email using ID.")
    ] = False,
    oversize_status: Annotated[
        int, typer.Option(metavar="N", help="Answer to a body that is too large: 400 or 413.")
    ] = 400,
    all_refused_status: Annotated[
        int, typer.Option(metavar="N", help="Answer when every item is refused: 207 or 400.")
    ] = 207,
    order_by: Annotated[
        str, typer.Option(help="Count a person's events that arrive out of order by this attribute.")
    ] = "timestamp",
    keep_events: Annotated[
        int, typer.Option(min=0, metavar="N", help="Events kept to look at; bounds the memory.")
    ] = 100_000,
    fast: Annotated[bool, typer.Option("--fast", help="Keep no attributes and no bodies: for benchmarks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print address and settings as one JSON line.")] = False,
) -> None:
    """Serve a strict stand-in of Customer.io's Track API until Ctrl-C, and print the settings that point to it.

    It takes `/api/v2/entity`, `/api/v2/batch` and `/api/v1/accounts/region`, refuses what the API's documentation does
    not allow (single items with 207), counts an event id once, and shows everything under `/__sandbox/`: `stats`,
    `people`, `events`, `requests`, `faults`. Nothing is stored on disk.

    A fault script is a list of steps, each taken by the next request that matches:
    `[{"status": 503, "retry_after": 2}, {"match": {"person": "cus_1"}, "refuse_items": "matched"},
    {"match": {"request": 5}, "drop": "after"}]`. `POST /__sandbox/faults` adds steps while it runs.

    Examples: `dodo-cio sandbox --port 8090`, `dodo-cio sandbox --rate-limit 10 --retry-after 2`,
    `dodo-cio sandbox --faults outage.yaml --latency-ms 80`, `curl http://127.0.0.1:8090/__sandbox/people/cus_1`.
    """
    from pipeline import logs
    from pipeline.customerio.sandbox.config import SandboxConfig
    from pipeline.customerio.sandbox.faults import load_steps
    from pipeline.customerio.sandbox.run import run

    if oversize_status not in {400, 413}:
        raise typer.BadParameter("must be 400 or 413", param_hint="--oversize-status")
    if all_refused_status not in {207, 400}:
        raise typer.BadParameter("must be 207 or 400", param_hint="--all-refused-status")
    config = SandboxConfig(
        site_id=site_id,
        api_key=api_key,
        region=region.value,
        wrong_region=wrong_region,
        rate_limit=rate_limit,
        retry_after=retry_after,
        latency_ms=latency_ms,
        lenient=lenient,
        email_updates=not no_email_updates,
        oversize_status=413 if oversize_status == 413 else 400,  # noqa: PLR2004 - HTTP
        all_refused_status=400 if all_refused_status == 400 else 207,  # noqa: PLR2004 - HTTP
        order_by=order_by,
        keep_events=keep_events,
        fast=fast,
        faults=load_steps(faults) if faults else (),
    )
    logs.configure(level="warning", secrets=[api_key] if api_key else [])
    run(config, host=host, port=port, json=as_json, say=typer.echo)
