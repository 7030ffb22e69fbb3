"""`dodo-cio ingest`: take Dodo's webhooks over HTTP and store them in Kafka."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    *,
    port: Annotated[
        Optional[int],
        typer.Option(
            min=0, max=65535, help="Port to listen on; 0 takes any free one. [default: PIPELINE_PORT or 8080]"
        ),
    ] = None,
    admin_port: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            max=65535,
            help="Port of its own for probes and metrics. [default: PIPELINE_ADMIN_PORT, else the webhooks' port]",
        ),
    ] = None,
    host: Annotated[
        Optional[str], typer.Option(help="Address to listen on. [default: PIPELINE_HOST or 0.0.0.0]")
    ] = None,
    workers: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=64,
            help="Processes that share the port, one for each core. [default: PIPELINE_INGEST_WORKERS or 1]",
        ),
    ] = None,
    worker: Annotated[
        Optional[int],
        typer.Option(hidden=True, help="Which of a supervisor's workers this is; its end of the wire is stdin."),
    ] = None,
) -> None:
    """Take webhooks at `POST /webhooks/dodo`, verify their signature, store them in Kafka, then answer 200.

    Forged ones are answered 401; while Kafka does not confirm, 503, and Dodo tries again. Probes and metrics (`/live`,
    `/ready`, `/status`, `/metrics`) share the port, or with `--admin-port` on another: then nothing but webhooks is
    public. SIGTERM answers what is in flight and exits 0. With `--workers` several processes share the ports; probes
    tell of all of them, and one that ends is replaced.

    Examples: `PIPELINE_DODO_WEBHOOK_SECRETS=whsec_… dodo-cio ingest`, `dodo-cio ingest --port 0` (prints the port that
    it took), `dodo-cio ingest --admin-port 9080`, `dodo-cio ingest --workers 4`.
    """
    from pipeline import logs
    from pipeline.ingest.server import run
    from pipeline.kafka.noise import quieten
    from pipeline.settings import Settings

    flags = (("port", port), ("admin_port", admin_port), ("host", host), ("ingest_workers", workers))
    given: dict[str, Any] = {name: value for name, value in flags if value is not None}
    settings = Settings.load(**given)
    logs.configure(log_format=settings.log_format, secrets=settings.secrets)
    quieten()
    code = run(settings, typer.echo, worker=worker)
    if code:
        raise typer.Exit(code)
