"""Ends a long command on Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""The exit code that a shell reports for a program that Ctrl-C ended (128 + SIGINT)."""


@contextmanager
def stopping() -> Iterator[None]:
    """SIGINT and SIGTERM cancel this task: it ends at once, and the next run continues there."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker: this runs inside a task
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
