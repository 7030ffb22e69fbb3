"""The command line, `dodo-cio`: one file per command group, the only room that may import all others.

Each group module has `register(app)`. Heavy imports happen inside the commands, so that `--help` is fast.
A `PipelineError` becomes one message on stderr and its exit code; no mistake of a user shows a traceback.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from pipeline import logs
from pipeline.cli import exit_codes, screen, streams
from pipeline.errors import ClosedPipeError, PipelineError

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


HELP = (
    "Dodo Payments webhooks to Customer.io over Kafka: run the stages, look inside, try it offline.\n\n"
    + exit_codes.as_help()
)


STAGES = frozenset({"ingest", "transform", "sink"})


class Color(StrEnum):
    """When to colour."""

    auto = "auto"
    always = "always"
    never = "never"


def build() -> typer.Typer:
    """The complete command tree."""
    app = typer.Typer(
        name="dodo-cio",
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help=HELP,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        *,
        _version: Annotated[
            bool, typer.Option("--version", help="Print version, commit, Python and machine.", callback=_print_version)
        ] = False,
        _color: Annotated[
            Color,
            typer.Option(
                "--color",
                metavar="WHEN",
                help="auto (on a terminal, unless NO_COLOR is set), always or never.",
                callback=_choose_color,
                is_eager=True,
            ),
        ] = Color.auto,
    ) -> None:
        logs.configure(level="warning")  # unconfigured, a log line would go to stdout, between the lines of --json

    for group in GROUPS:
        importlib.import_module(f"pipeline.cli.{group}").register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from pipeline.version import described

        screen.say(described(), indent=4)
        raise typer.Exit


def _choose_color(when: Color) -> Color:
    """Whether to colour: by the usual variables NO_COLOR and FORCE_COLOR; the option overrides both."""
    chosen, other = ("FORCE_COLOR", "NO_COLOR") if when == Color.always else ("NO_COLOR", "FORCE_COLOR")
    if when != Color.auto:
        os.environ[chosen] = "1"
        os.environ.pop(other, None)
    return when


def main() -> None:
    """Run the command line; turn our own errors into one message and an exit code (typer does so for bad usage)."""
    streams.prepare()
    sys.exit(_run())


def _run() -> int:
    try:
        return _finished(_code_of_command())
    except ClosedPipeError as error:
        return error.exit_code  # the reader closed the pipe: it has what it wanted
    except PipelineError as error:
        _tell(error)
        return error.exit_code


def _code_of_command() -> int:
    try:
        build()(prog_name="dodo-cio")  # also as `python -m pipeline`: completion asks by this name
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _finished(code: int) -> int:
    streams.finish()
    return code


def _tell(error: PipelineError) -> None:
    """One message; of a stage in the form of its log, of others on a terminal wrapped between words."""
    text = f"dodo-cio: {error}"
    if STAGES.intersection(sys.argv[1:]):
        with contextlib.suppress(OSError):
            logs.fatal(str(error), error.exit_code)
    elif sys.stderr.isatty():
        screen.say(text, indent=10, err=True)
    else:
        streams.complain(text)
