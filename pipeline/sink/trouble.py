"""Trouble: one log line when requests begin to fail and one when they no longer do, however many failed in between.

An observer of `events`. A request that fails once and then passes is no trouble; it is in the series. What holds all
lanes is reported by the gate.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pipeline import logs
from pipeline.sink.events import BatchClosed, BudgetShared, RequestEnded, RetryPlanned, SinkEvent

log = logs.get(__name__)

TOLD_FROM: Final = 2
"""Failures that are worth a line: one of them alone is a hiccup."""

QUIET_S: Final = 60.0
"""Trouble is over when nothing has failed for so long, the longest pause between two attempts: in a brown-out a success
comes every few seconds, and none of them is the end of it."""

LOOK_S: Final = 5.0
"""How often it is looked at whether trouble is over."""


class Trouble:
    """What fails now, of all lanes together. Belongs to one event loop."""

    def __init__(self) -> None:
        self._failing: set[int] = set()
        self._failures = 0
        self._lanes: set[int] = set()
        self._began_at = 0.0
        self._failed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def observe(self, event: SinkEvent) -> None:
        """Take in one event; those that are no trouble are none of its business."""
        match event:
            case RetryPlanned(lane=lane, reason=reason):
                self._failed(lane, reason)
            case RequestEnded(lane=lane, outcome="accepted" | "partly-refused") | BatchClosed(lane=lane):
                self._failing.discard(lane)
            case BudgetShared():
                self._failing.clear()  # what failed is the next owner's

    def end(self) -> None:
        """The lanes have ended: nothing is reported any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._failures = 0

    def _failed(self, lane: int, reason: str) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._failures:
            self._began_at, self._lanes, self._failing = now, set(), set()
            self._timer = loop.call_later(LOOK_S, self._look)
        self._failures += 1
        self._failed_at = now
        self._lanes.add(lane)
        self._failing.add(lane)
        if self._failures == TOLD_FROM:
            log.warning("requests fail; they are sent again until they pass or a record is to blame", reason=reason)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        since_s = loop.time() - self._failed_at
        if self._failing or since_s < QUIET_S:
            self._timer = loop.call_later(LOOK_S, self._look)
            return
        if self._failures >= TOLD_FROM:
            lasted_s = round(self._failed_at - self._began_at, 1)
            log.info("no request fails any more", failures=self._failures, lanes=len(self._lanes), lasted_s=lasted_s)
        self._timer = None
        self._failures = 0
