"""Logs why connections were ended: the first of each kind at once, then counts, so that nobody can fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pipeline import logs
from pipeline.http.events import ConnectionEnded, DescriptorsExhausted

log = logs.get(__name__)

QUIET_S: Final = 10.0
"""At most one line of each kind within this time; the next line has the number of those left out."""

FULL: Final = frozenset({"refused", "evicted"})


class ConnectionJournal:
    """An observer of one port's connections; `setting` raises their limit, `clock` is monotonic seconds."""

    def __init__(self, setting: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._more = f"; {setting} allows more" if setting else ""
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def __call__(self, event: object) -> None:
        """Log a connection that the server ended, or could not accept."""
        match event:
            case DescriptorsExhausted(error=error):
                self._say(
                    "descriptors",
                    "no file descriptor is left for a connection: an idle one is closed for it; give the process more "
                    "of them (ulimit -n)",
                    error=error,
                )
            case ConnectionEnded(reason=reason) if reason in FULL:
                self._say(reason, f"too many connections: one is ended for each new one{self._more}", reason=reason)
            case ConnectionEnded(reason=reason):
                self._say(reason, "a connection was ended", reason=reason)

    def _say(self, kind: str, text: str, **more: object) -> None:
        now = self._clock()
        if now - self._told_at.get(kind, -QUIET_S) < QUIET_S:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told_at[kind] = now
        log.warning(text, **more, like_this_since_last=self._untold.pop(kind, 0))
