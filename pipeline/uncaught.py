"""Errors that nobody catches, and warnings, as log lines: Python writes them to stderr as they are.

They may quote anything: a body, an address, a secret. A hook that somebody else has set stays theirs.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Final

NAME: Final = "pipeline"


def log_them() -> None:
    """From here on the log has what nobody catches in this process and its threads, and warnings."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _ended
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_ended
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ignored
    logging.captureWarnings(True)


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(NAME).critical("An error that nobody caught ends this process", exc_info=(kind, error, trace))


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "?"
    logging.getLogger(NAME).critical(
        "An error that nobody caught ended the thread %s", name,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )  # fmt: skip


def _ignored(args: sys.UnraisableHookArgs) -> None:
    error = args.exc_value
    logging.getLogger(NAME).error(
        "%s %r", args.err_msg or "An error that nobody can catch in", args.object,
        exc_info=error and (type(error), error, args.exc_traceback),
    )  # fmt: skip
