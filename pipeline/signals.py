"""SIGTERM and SIGINT in a stage, from its first moment to its last: a quiet end with exit code 0.

A rollout that changes its mind, a failed probe or an impatient supervisor ends a process that is still importing; with
Python's own handlers that is exit code 143, or a traceback. So `__main__` catches before anything heavy is imported:

    catch       nothing has begun yet: a signal ends the process at once
    listening   the event loop is asked to stop, however far the start is
    then        the end is on its way: further signals change nothing, until the process is gone

One handler stays in place all the while and only what it does changes, so no moment lies between two of them. A loop's
`add_signal_handler` has such moments: before the loop stands, and after it is closed, when it restores the default.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class _Handler:
    """What a signal does at the moment; a process has one."""

    def __init__(self) -> None:
        self.act: Callable[[int], None] = _nothing
        self.caught = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.act(number)


def _end_at_once(number: int) -> None:  # noqa: ARG001 - the same end for both
    # Not SystemExit: an import in progress may swallow it, or report it as a fault of whatever it interrupted.
    os._exit(0)


def _nothing(number: int) -> None:
    """The end is on its way."""


_handler = _Handler()


def catch() -> None:
    """From here on both signals end the process with exit code 0; for its main thread, before anything has begun."""
    _handler.act, _handler.caught = _end_at_once, True
    for number in NUMBERS:
        signal.signal(number, _handler)


def catch_in_faust() -> bool:
    """`catch`, if this is `faust -A … worker`: not for Faust's other commands, nor for whoever imports an app.

    Returns whether it is.
    """
    from pathlib import PurePath  # a third of this module's time

    is_worker = "faust" in PurePath(sys.argv[0]).parts[-2:] and "worker" in sys.argv[1:]
    if is_worker:
        catch()
    return is_worker


@contextmanager
def listening(schedule: Callable[..., object], stop: Callable[[int], None]) -> Iterator[None]:
    """Inside the block each signal has `stop(number)` called by the loop whose `call_soon_threadsafe` is `schedule`.

    Behind it signals are ignored if `catch` was called, for the process is about to end; else the handlers from before
    are put back.
    """

    def act(number: int) -> None:
        try:
            schedule(stop, number)
        except RuntimeError:
            """The loop is closed: what was to be stopped has ended."""

    before = [signal.getsignal(number) for number in NUMBERS]
    _handler.act = act
    for number in NUMBERS:
        signal.signal(number, _handler)
    try:
        yield
    finally:
        _handler.act = _nothing
        for number, handler in zip(NUMBERS, before, strict=True):
            # Ignored by the system: the interpreter puts its own handlers back to the default before its last steps.
            signal.signal(number, signal.SIG_IGN if _handler.caught else handler or signal.SIG_DFL)
