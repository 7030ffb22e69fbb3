"""One line for a row of failures of one kind, and one for its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

MOST_LINES: Final = 5
"""Failures with different words may have different causes; some messages differ each time."""


class Incident:
    """What is tried again and again until it succeeds, as the log tells of it.

    Args:
        log: a structlog logger.
        begun: said of the first failure, and of each whose words are new, as a warning.
        ended: said of the success after failures.
        clock: monotonic seconds.
        told: fields of every line.
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
