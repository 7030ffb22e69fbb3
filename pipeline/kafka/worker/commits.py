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
from pipeline.kafka.worker.done_ahead import rendered
from pipeline.kafka.worker.watermarks import Watermarks

COALESCE_S: Final = 0.2
"""Acknowledgements within this time share one request. What is not yet committed at a SIGKILL is repeated, so it is
short; a request for each chunk would load the group coordinator for nothing."""

COALESCE_AHEAD_S: Final = 0.05
"""The same while many records are done beyond the offset: lanes finish them by hundreds, in batches."""

MANY_AHEAD: Final = 100
"""Below, 0.2 s are as good: a request costs as much as some operations, and at low load a few are nearly always done
before one that waits for its person."""

RETRY_S: Final = 1.0
"""Pause after a request that the broker could not serve."""

TEXT_CHARS: Final = 4_096 - 64
"""Of the text beside one offset. Brokers accept 4,096 (`offset.metadata.max.bytes`), including the topic's mark; for a
broker that does not, the text is cut shorter and shorter."""

LEAST_CHARS: Final = 256

REQUEST_CHARS: Final = 512 * 1024
"""Beside all offsets of a request. The coordinator appends them in one batch, and its topic takes a megabyte."""

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
    """Commits what the watermarks allow, with what is done ahead of them, and one note for the whole group.

    The note lies beside the offset of the first partition.

    `store(offsets, generation, notes)` sends one request and refuses it when `generation` is not the live one.
    """

    def __init__(self, watermarks: Watermarks, store: Store, tell: Callable[[TransportEvent], None]) -> None:
        self._watermarks = watermarks
        self._store = store
        self._tell = tell
        self._moved = asyncio.Event()
        self._lock = asyncio.Lock()
        self._note = ("", NOBODY)
        self._stored: tuple[Mapping[TP, str], int] = ({}, NOBODY)
        self.takes_notes = True
        self.room = TEXT_CHARS
        self._tells_many = False

    def moved(self) -> None:
        """A watermark moved, or more is done ahead of one."""
        self._moved.set()

    def note(self, text: str, generation: int) -> None:
        """Keep `text` beside the offset of the first partition for as long as `generation` lasts; "" for nothing."""
        self._note = (text, generation)
        self.moved()

    def _texts(self, generation: int) -> dict[TP, str]:
        """What is to lie beside the offsets: what is done ahead of them, and the note beside the first."""
        note = self._note[0] if self.takes_notes and self._note[1] == generation else ""
        first = self._watermarks.first
        texts = {first: note} if first is not None and note else {}
        ahead = self._watermarks.done_ahead() if self.room else {}
        self._tells_many = sum(one.count for one in ahead.values()) >= MANY_AHEAD
        each = min(self.room, REQUEST_CHARS // max(len(ahead), 1))
        for tp, one in ahead.items():
            rest = texts.get(tp, "")
            texts[tp] = rendered(one, each - len(rest)) + rest
        return texts

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
                await asyncio.sleep(COALESCE_AHEAD_S if self._tells_many else COALESCE_S)

    async def commit(self) -> Committed:
        """Commit now, after a commit that is on its way."""
        async with self._lock:
            outcome = await self._commit()
            while outcome is Committed.NOTE_REFUSED:
                self._take_less()
                outcome = await self._commit()
            return outcome

    def _take_less(self) -> None:
        """The brokers refused what was to lie beside the offsets."""
        if self.room and self._watermarks.done_ahead():
            self.room = self.room // 2 if self.room > LEAST_CHARS else 0
            if not self.room:
                log.warning(
                    "The brokers keep too little beside offsets (offset.metadata.max.bytes): after a crash, what was "
                    "done beyond the committed offset is done again"
                )
            return
        self.takes_notes = False
        log.warning(
            "The brokers keep no notes beside offsets (offset.metadata.max.bytes): sinks do not lend each other "
            "requests"
        )

    async def _commit(self) -> Committed:
        moved, generation = self._watermarks.committable(), self._watermarks.generation
        stored = self._stored[0] if self._stored[1] == generation else {}
        texts = self._texts(generation)
        # Where only the text is new, the same offset is committed once more. That is no progress, so no event reports
        # it.
        offsets = dict(moved)
        for tp in self._watermarks.partitions:
            if tp not in offsets and texts.get(tp, "") != stored.get(tp, ""):
                offsets[tp] = self._watermarks.next_offset(tp)
        if not offsets:
            return Committed.STORED
        notes = {tp: texts[tp] for tp in offsets if texts.get(tp)}
        started = time.monotonic()
        outcome = await self._store(offsets, generation, notes)
        if outcome is Committed.STORED:
            self._stored = ({**stored, **{tp: texts.get(tp, "") for tp in offsets}}, generation)
            self._watermarks.committed(generation, moved)
        if outcome is Committed.STORED and moved:
            self._tell(OffsetsCommitted(moved, generation, time.monotonic() - started))
        elif moved and outcome is not Committed.NOTE_REFUSED:
            self._tell(CommitFailed(moved, generation, stale=outcome is Committed.STALE))
        return outcome
