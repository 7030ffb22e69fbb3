"""Commits of the watermarks: soon after they move, one request at a time, only under the live generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Final

from faust.types import TP

from pipeline.kafka.events import CommitFailed, OffsetsCommitted, TransportEvent
from pipeline.kafka.watermarks import Watermarks

COALESCE_S: Final = 0.2
"""Acknowledgements within this time share one request. What is not yet committed at a SIGKILL is repeated, so it is
short; a request for each chunk would load the group coordinator for nothing."""

RETRY_S: Final = 1.0
"""Pause after a request that the broker could not serve."""


class Committed(Enum):
    """How a commit ended."""

    STORED = auto()
    STALE = auto()
    """The generation is over: the partitions belong to others, and so does their offset."""
    UNAVAILABLE = auto()
    """No coordinator, or no answer: the same watermark may be tried again."""


Store = Callable[[Mapping[TP, int], int], Awaitable[Committed]]


class Committer:
    """Commits what the watermarks allow.

    `store(offsets, generation)` sends one request and refuses it when `generation` is not the live one.
    """

    def __init__(self, watermarks: Watermarks, store: Store, tell: Callable[[TransportEvent], None]) -> None:
        self._watermarks = watermarks
        self._store = store
        self._tell = tell
        self._moved = asyncio.Event()
        self._lock = asyncio.Lock()

    def moved(self) -> None:
        """A watermark moved."""
        self._moved.set()

    async def run(self) -> None:
        """Commit whenever a watermark moved, for as long as the task lives."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            outcome = await self.commit()
            if outcome is Committed.UNAVAILABLE:
                self._moved.set()
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(COALESCE_S)

    async def commit(self) -> Committed:
        """Commit now, after a commit that is on its way."""
        async with self._lock:
            offsets = self._watermarks.committable()
            if not offsets:
                return Committed.STORED
            generation = self._watermarks.generation
            started = time.monotonic()
            outcome = await self._store(offsets, generation)
            if outcome is Committed.STORED:
                self._watermarks.committed(generation, offsets)
                self._tell(OffsetsCommitted(offsets, generation, time.monotonic() - started))
            else:
                self._tell(CommitFailed(offsets, generation, stale=outcome is Committed.STALE))
            return outcome
