"""When facts leave: those of several chunks, of all partitions, in one moment, so that one request takes them.

Nobody waits for them but the acknowledgement: what a webhook becomes is out before they are sent. At 200 webhooks a
second each would take a request of its own, as large a cost as the request for its operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

WITHIN_S: Final = 0.05
"""How long facts wait for others. It is a quarter of what a commit waits for others, so a crash repeats little more."""

MOST_CHUNKS: Final = 12
"""So many chunks wait at most: enough for 200 a second, and well below what the flow keeps unacknowledged."""

MOST_CHANGES: Final = 64
"""So many facts are worth a request of their own, whoever else has some."""


class Departures:
    """The next moment at which facts leave. Belongs to one event loop.

    Args:
        within_s: how long they wait at most; 0: not at all.
    """

    def __init__(self, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._is_hurried = False
        self._waiting: dict[Callable[[], None], None] = {}
        self._chunks = 0
        self._changes = 0
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, leave: Callable[[], None], changes: int) -> None:
        """Let a chunk with so many facts be sent by `leave`, which sends all that its partition has; maybe at once."""
        self._waiting[leave] = None
        self._chunks += 1
        self._changes += changes
        if self._is_hurried or not self._within_s or self._chunks >= MOST_CHUNKS or self._changes >= MOST_CHANGES:
            self.now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._within_s, self.now)

    def hurry(self, *, on: bool) -> None:
        """Let nothing wait from now on, or again."""
        self._is_hurried = on
        if on:
            self.now()

    def now(self) -> None:
        """Let all that waits leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        self._chunks = self._changes = 0
        for leave in waiting:
            leave()
