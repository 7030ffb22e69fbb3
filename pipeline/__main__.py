"""`dodo-cio`, and `python -m pipeline`: hears of signals before anything heavy is imported."""

from __future__ import annotations

import importlib
import sys

from pipeline import plain_faust, signals
from pipeline.imports import uncollected

STAGES = {
    "ingest": "pipeline.ingest.server",
    "transform": "pipeline.transform.worker",
    "sink": "pipeline.sink.worker",
    "sandbox": "pipeline.customerio.sandbox.run",
}
"""Commands that run until a signal ends them, and what each imports: a signal is their normal end."""

FAUST = frozenset({"transform", "sink"})
"""Stages that are Faust apps."""

HELP = frozenset({"-h", "--help"})
"""Whoever asks for it does not wait for what a stage needs."""

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended (128 + SIGINT)."""


def _command(arguments: list[str]) -> str:
    """The first word that is no option, nor the value of `--color`."""
    words = [word for before, word in zip(["", *arguments], arguments, strict=False) if before != "--color"]
    return next((word for word in words if not word.startswith("-")), "")


def main() -> None:
    """Run the command line; Ctrl-C in its first second is no traceback either."""
    command = _command(sys.argv[1:])
    if command in STAGES:
        signals.catch()
    try:
        with uncollected():
            from pipeline.cli import main as run

            if command in STAGES and not HELP.intersection(sys.argv):
                if command in FAUST:
                    plain_faust.load()
                importlib.import_module(STAGES[command])
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
