"""The command line, `dodo-cio`: one file per command group, the only room that sees all others.

Each group module has `register(app)`. Heavy imports happen inside the commands, so `--help` answers at once.
A `PipelineError` becomes one message on stderr and its exit code; nothing that a user can do shows a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from pipeline import __version__, logs
from pipeline.errors import PipelineError

GROUPS = (
    "ingest",
    "transform",
    "sink",
    "explain",
    "rules",
    "preview",
    "events",
    "recipe",
    "send_test",
    "topics",
    "doctor",
    "trace",
    "lag",
    "dlq",
    "backfill",
    "forget",
    "state",
    "sandbox",
    "kafka",
    "demo",
    "settings",
    "metrics",
)


def build() -> typer.Typer:
    """The complete command tree."""
    app = typer.Typer(
        name="dodo-cio",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help="Dodo Payments webhooks to Customer.io over Kafka: run the stages, look inside, try it offline.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        *,
        _version: Annotated[
            bool, typer.Option("--version", help="Print the version.", callback=_print_version)
        ] = False,
    ) -> None:
        """Dodo Payments webhooks to Customer.io over Kafka: run the stages, look inside, try it offline."""
        logs.configure(level="warning")  # unconfigured, a log line would go to stdout, between the lines of --json

    for group in GROUPS:
        importlib.import_module(f"pipeline.cli.{group}").register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dodo-cio {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: run, turn our own errors into one message and an exit code (typer does so for bad usage)."""
    try:
        build()()
    except PipelineError as error:
        sys.stderr.write(f"dodo-cio: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # `dodo-cio … | head` closed our stdout: nothing is wrong, and the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
