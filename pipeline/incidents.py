"""Logs a series of failures of one kind as one line, and one for its end; and repeats work until it succeeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final

MOST_LINES: Final = 5
"""Failures with different words may have different causes; some messages differ each time."""


class Incident:
    """What is tried again and again until it succeeds, as it appears in the log.

    Args:
        log: a structlog logger.
        begun: logged at the first failure, and at each whose words are new, as a warning.
        ended: logged at the success after failures.
        clock: monotonic seconds.
        told: fields of every log line.
    """

    def __init__(
        self, log: Any, begun: str, ended: str, *, clock: Callable[[], float] = time.monotonic, **told: Any
    ) -> None:
        self._log = log
        self._begun = begun
        self._ended = ended
        self._clock = clock
        self._told = told
        self._words: set[str] = set()
        self._since = 0.0
        self._attempts = 0

    def failed(self, error: BaseException) -> None:
        """One more attempt failed."""
        words = str(error) or repr(error)
        if not self._attempts:
            self._since = self._clock()
        self._attempts += 1
        if words not in self._words and len(self._words) < MOST_LINES:
            self._words.add(words)
            self._log.warning(self._begun, error=f"{type(error).__name__}: {words}", **self._told)

    def succeeded(self) -> None:
        """An attempt succeeded."""
        if not self._attempts:
            return
        seconds, attempts = self._clock() - self._since, self._attempts
        self._words, self._attempts = set(), 0
        self._log.info(self._ended, seconds=round(seconds, 1), failed_attempts=attempts, **self._told)


async def insist(
    work: Callable[[], Awaitable[None]],
    incident: Incident,
    pauses_s: Sequence[float],
    failed: Callable[[Exception], None] = lambda _: None,
) -> None:
    """Do `work` again and again, whatever it raises: without what it gives the process is of no use.

    Args:
        work: is done when it returns.
        incident: its log lines.
        pauses_s: after the first failures, one after the other; the last one repeats.
        failed: hears of each.
    """
    for attempt in count():
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - see above
            incident.failed(error)
            failed(error)
            await asyncio.sleep(pauses_s[min(attempt, len(pauses_s) - 1)])
        else:
            incident.succeeded()
            return
