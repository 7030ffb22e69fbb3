"""Commits of the watermarks: soon after they move, one request at a time, only under the live generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Final

from faust.types import TP

from pipeline import logs
from pipeline.kafka.events import CommitFailed, OffsetsCommitted, TransportEvent
from pipeline.kafka.watermarks import Watermarks

COALESCE_S: Final = 0.2
"""Acknowledgements within this time share one request. What is not yet committed at a SIGKILL is repeated, so it is
short; a request for each chunk would load the group coordinator for nothing."""

RETRY_S: Final = 1.0
"""Pause after a request that the broker could not serve."""

NOBODY: Final = -1
"""The generation of a note that was never left."""


class Committed(Enum):
    """How a commit ended."""

    STORED = auto()
    STALE = auto()
    """The generation is over: the partitions belong to others, and so does their offset."""
    UNAVAILABLE = auto()
    """No coordinator, or no answer: the same watermark may be tried again."""
    NOTE_REFUSED = auto()
    """The brokers take no note of this size (`offset.metadata.max.bytes`): offsets go without."""


Store = Callable[[Mapping[TP, int], int, Mapping[TP, str]], Awaitable[Committed]]

log = logs.get(__name__)


class Committer:
    """Commits what the watermarks allow, and beside the offset of the first partition a note for the whole group.

    `store(offsets, generation, notes)` sends one request and refuses it when `generation` is not the live one.
    """

    def __init__(self, watermarks: Watermarks, store: Store, tell: Callable[[TransportEvent], None]) -> None:
        self._watermarks = watermarks
        self._store = store
        self._tell = tell
        self._moved = asyncio.Event()
        self._lock = asyncio.Lock()
        self._note = ("", NOBODY)
        self._noted = ("", NOBODY)
        self.takes_notes = True

    def moved(self) -> None:
        """A watermark moved."""
        self._moved.set()

    def note(self, text: str, generation: int) -> None:
        """Keep `text` beside the offset of the first partition for as long as `generation` lasts; "" for nothing."""
        self._note = (text, generation)
        if self._unnoted(self._watermarks.generation) is not None:
            self.moved()

    def _unnoted(self, generation: int) -> str | None:
        """The note that is to be stored though no offset moved, None when the stored one is right."""
        stored = self._noted[0] if self._noted[1] == generation else ""
        wanted = self._note[0] if self._note[1] == generation else ""
        return wanted if self.takes_notes and wanted != stored else None

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
            outcome = await self._commit()
            if outcome is Committed.NOTE_REFUSED:
                self.takes_notes = False
                log.warning(
                    "The brokers keep no notes beside offsets (offset.metadata.max.bytes): sinks do not lend each "
                    "other requests"
                )
                outcome = await self._commit()
            return outcome

    async def _commit(self) -> Committed:
        moved, generation = self._watermarks.committable(), self._watermarks.generation
        offsets, note, place = dict(moved), self._unnoted(generation), self._watermarks.first
        if note is not None and place is not None:
            # The same offset once more. Nothing is done by it that was not done, so nobody is told.
            offsets.setdefault(*place)
        if not offsets:
            return Committed.STORED
        text = self._note[0] if self.takes_notes and self._note[1] == generation else ""
        noted = place is not None and place[0] in offsets
        notes = {place[0]: text} if place is not None and noted and text else {}
        started = time.monotonic()
        outcome = await self._store(offsets, generation, notes)
        if outcome is Committed.STORED:
            if noted:
                self._noted = (text, generation)
            self._watermarks.committed(generation, moved)
        if outcome is Committed.STORED and moved:
            self._tell(OffsetsCommitted(moved, generation, time.monotonic() - started))
        elif moved and outcome is not Committed.NOTE_REFUSED:
            self._tell(CommitFailed(moved, generation, stale=outcome is Committed.STALE))
        return outcome
