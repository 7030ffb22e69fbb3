"""`dodo-cio`, and `python -m pipeline`: hears of signals before anything heavy is imported."""

from __future__ import annotations

import sys

from pipeline import signals

STAGES = frozenset({"ingest", "transform", "sink", "sandbox"})
"""Commands that run until they are told to end; a signal is their normal end."""

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended (128 + SIGINT)."""


def _command(arguments: list[str]) -> str:
    """The first word that is no option, nor the value of `--color`."""
    words = [word for before, word in zip(["", *arguments], arguments, strict=False) if before != "--color"]
    return next((word for word in words if not word.startswith("-")), "")


def main() -> None:
    """Run the command line; Ctrl-C in its first second is no traceback either."""
    if _command(sys.argv[1:]) in STAGES:
        signals.catch()
    try:
        from pipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
