"""Checks that the thread in which aiokafka runs is alive, by a call that the thread must answer.

A thread that hangs fetches nothing and learns of no waiting records, so nothing else would show that it hangs.
"""

from __future__ import annotations

from contextlib import suppress

from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.membership import NOT_A_MEMBER


class DriverThread:
    """Schedules one call at a time in the thread's loop, and counts those that ran."""

    def __init__(self, app: BatchApp) -> None:
        self._app = app
        self._asked = 0
        self._answered = 0

    def ask(self) -> tuple[int, bool]:
        """How many calls have run so far, and whether one is outstanding; schedules the next when none is.

        None is scheduled before the worker was in its group: until then the start reports what it waits for.
        """
        outstanding = self._asked != self._answered
        if not outstanding and (self._asked or self._app.membership.generation != NOT_A_MEMBER):
            thread = self._app.consumer._thread  # type: ignore[attr-defined] # noqa: SLF001 - the driver's thread
            with suppress(RuntimeError):  # its loop is closed: the worker is stopping, or ends with the thread's error
                thread.thread_loop.call_soon_threadsafe(self._answer)
                self._asked += 1
        return self._answered, outstanding

    def _answer(self) -> None:
        """Runs in the thread, which alone writes this."""
        self._answered += 1
