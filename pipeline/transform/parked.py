"""Chunks that wait for an answer from outside: each partition's in their order, beside the flow of all others.

A chunk waits for a bounded time in total, and then goes on with what is known. It is not asked to wait at all once so
much has gathered behind waiting chunks that a partition without a question would have to wait with them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from faust.types import TP

from pipeline.kafka.worker.batches import RecordBatch
from pipeline.statestore.store import KeyValueStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.transform.chunk_stats import ChunkStats
from pipeline.transform.decision import Decision
from pipeline.transform.webhook import Reading

PATIENCE_S: Final = 5.0
"""Longest wait of a chunk, for all its questions: a partition of strangers gets on, if slowly, and no probe of a
standstill (minutes) is near."""

MAX_PARKED: Final = 32
"""Chunks in waiting, of all partitions."""

MAX_PARKED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of their webhooks; bounds memory."""

WAITING: Final = BackgroundTask("chunk in waiting", OnEnd.CRASH, returns=True)

Answer = asyncio.Future[Any]
"""Done when there is something to go on with; what it is, the asker knows."""


@dataclass(slots=True, eq=False)
class Chunk:
    """A chunk of webhooks in the making.

    Attributes:
        stay: the assignment that it was taken in; it is worth nothing in any other.
        outgoing: what it becomes, as far as it is decided.
        decided: how many of its records are.
        mapping_s: how long that took.
        patience_s: how long it may still wait.
        decide: the decision about each of its records: all of a chunk by the same rules.
    """

    batch: RecordBatch
    size: int
    stay: int
    store: TransactionalStore | None = None
    outgoing: Any = None
    tally: ChunkStats = field(default_factory=ChunkStats)
    decided: int = 0
    mapping_s: float = 0.0
    patience_s: float = PATIENCE_S
    decide: Callable[[Reading, KeyValueStore | None], Decision] | None = None


class Parked:
    """The chunks in waiting.

    Args:
        go_on: decides and sends a chunk; returns an answer that it must wait for first, None when it is done with it.
        changed: called when one has gone.
        tasks: runs the waiting, one task for a partition.
    """

    def __init__(
        self, go_on: Callable[[Chunk], Awaitable[Answer | None]], changed: Callable[[], None], tasks: Tasks
    ) -> None:
        self._go_on = go_on
        self._changed = changed
        self._tasks = tasks
        self._queues: dict[TP, deque[Chunk]] = {}
        self._waits: set[asyncio.Future[None]] = set()
        self._is_hurried = False

    def holds(self, tp: TP) -> bool:
        """Whether a chunk of this partition waits: the ones after it wait with it."""
        return tp in self._queues

    def is_full(self, size: int) -> bool:
        """Whether a chunk of so many bytes would be too much."""
        chunks = [chunk for queue in self._queues.values() for chunk in queue]
        if not chunks:
            return False
        return len(chunks) >= MAX_PARKED or sum(chunk.size for chunk in chunks) + size > MAX_PARKED_BYTES

    def park(self, chunk: Chunk, answer: Answer) -> None:
        """Let it wait, the first of its partition."""
        tp = chunk.batch.tp
        queue = self._queues[tp] = deque([chunk])
        self._tasks.start(WAITING, lambda: self._wait(tp, queue, answer), which=tp.partition)

    def add(self, chunk: Chunk) -> None:
        """Let it wait behind those of its partition."""
        self._queues[chunk.batch.tp].append(chunk)

    def hurry(self, is_hurried: bool) -> None:
        """Let nobody wait, until this is called again."""
        self._is_hurried = is_hurried
        if is_hurried:
            self._wake()

    def give_up(self) -> None:
        """Forget them: their partitions go, or an error ended the flow."""
        for queue in self._queues.values():
            queue.clear()
        self._queues.clear()
        self._wake()

    def _wake(self) -> None:
        for wait in self._waits:
            if not wait.done():
                wait.set_result(None)

    async def _wait(self, tp: TP, queue: deque[Chunk], first: Answer) -> None:
        answer: Answer | None = first
        while queue:
            chunk = queue[0]
            if answer is not None:
                await self._patiently(chunk, answer)
            answer = await self._go_on(chunk)
            if answer is None:
                if queue:  # else they were given up meanwhile
                    queue.popleft()
                self._changed()
        if self._queues.get(tp) is queue:
            del self._queues[tp]

    async def _patiently(self, chunk: Chunk, answer: Answer) -> None:
        if self._is_hurried:
            chunk.patience_s = 0.0
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._waits.add(woken)
        began_at = loop.time()
        try:
            await asyncio.wait({answer, woken}, timeout=chunk.patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits.discard(woken)
        is_cut_short = woken.done() or not answer.done()
        chunk.patience_s = 0.0 if is_cut_short else max(0.0, chunk.patience_s - (loop.time() - began_at))
