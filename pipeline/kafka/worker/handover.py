"""Giving partitions away without a repeat: what is in flight ends, what is done is committed, then they go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from faust.types import TP

from pipeline.kafka.events import HandOverEnded
from pipeline.kafka.worker.watermarks import Watermarks

GRACE_S: Final = 9.0
"""For work in flight: one HTTP request lasts at most 8 s. With the commit it stays below the rebalance timeout of 20 s,
after which the group would go on without us."""

LOOK_S: Final = 0.1
"""How often it is asked whether what is waited for can still end."""

COMMIT_S: Final = 3.0
"""For the commit. A broker that needs longer costs a repeat, but must not cost the membership."""


class HandOver(Protocol):
    """What a stage does when its partitions are about to go, or the worker stops."""

    def begin(self) -> None:
        """Begin nothing new for delivered records; end back-off sleeps; wake whoever waits for room."""

    async def drained(self) -> None:
        """Return when nothing is in flight; acknowledge what has finished by then."""

    def is_vain(self) -> bool:
        """Whether nothing of what is in flight can be ended any more, so that waiting for it saves nothing."""

    def abandon(self) -> None:
        """The grace is over, or vain: nothing of what is in flight leaves, or is acknowledged, any more."""

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Records of `assigned` flow again, under `generation`; older records belong to others."""


async def hand_over(
    stage: HandOver | None, watermarks: Watermarks, commit: Callable[[], Awaitable[object]], grace_s: float
) -> HandOverEnded:
    """Drain `stage` within the grace, then commit what is acknowledged; returns the result, never raises a time-out.

    What is not drained by then is abandoned: the partitions' next owner does it again, and must have the last word. The
    grace ends early once it is vain: a process that was frozen past its session has lost the partitions already, and
    the group waits for it to join again.
    """
    started = time.monotonic()
    drained = committed = True
    generation = watermarks.generation
    try:
        if stage is not None:
            stage.begin()
            drained = await _within(stage.drained(), grace_s, stage.is_vain)
            if not drained:
                stage.abandon()
    finally:  # a bug in the stage must not cost the commit of what is done
        unfinished = watermarks.unfinished
        committed = await _within(commit(), COMMIT_S) and not watermarks.committable()
    return HandOverEnded(generation, drained, committed, unfinished, time.monotonic() - started)


async def _within(work: Awaitable[object], limit_s: float, is_vain: Callable[[], bool] = lambda: False) -> bool:
    """Whether `work` ended within the limit; work that ignores its cancellation is left behind, not waited for."""
    task = asyncio.ensure_future(work)
    ends = time.monotonic() + limit_s
    await asyncio.sleep(0)  # what has nothing to wait for ends now
    while not task.done() and not is_vain() and (left_s := ends - time.monotonic()) > 0:
        await asyncio.wait({task}, timeout=min(left_s, LOOK_S))
    if not task.done():
        task.cancel()
        return False
    task.result()
    return True
