"""Lanes: as many streams of batches as may be in flight at once, with every person always in the same one.

A lane has one batch in flight and draws the next when that one is at its end. So a person is never in two requests at
the same time, and whatever happens to a batch, nobody's later operations pass it. A free lane sends what it has, unless
`backlog` says that a full batch is about to come.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink.backlog import Backlog
from pipeline.sink.batching import MIN_BUDGET_BYTES, Draft, Waiting
from pipeline.sink.handover import wake
from pipeline.sink.item import Item

STEP_BYTES: Final = BODY_MAX_BYTES // 32
"""How far the byte budget feels its way up to a size that was too slow before."""

FAST_BYTES: Final = 2 * BODY_MAX_BYTES + 1
"""No size is known to be too slow."""


def lane_of(key: bytes, lanes: int) -> int:
    """The lane of everything with `key`.

    CRC-32, because the partitioner is murmur2: with the same hash, a sink that owns every second partition would use
    every second lane.
    """
    return zlib.crc32(key) % lanes


class Lane:
    """One lane: what waits in it, and how large its requests may be. Belongs to one event loop."""

    def __init__(self, number: int, backlog: Backlog | None = None) -> None:
        self.number: Final = number
        self.budget_bytes = BODY_MAX_BYTES
        self.waiting_since: float | None = None  # of what waited for a barrier, and so has waited for a turn already
        self._slow_bytes = FAST_BYTES
        self._filled = asyncio.Event()
        self._backlog = backlog
        self._nap: asyncio.Future[bool] | None = None
        self.waiting = self._empty()

    def _empty(self) -> Waiting:
        return Waiting(began=self._filled.set, filled=self._wake)

    def renew(self) -> list[Item]:
        """Begin anew for another assignment; returns what waited, which is not this lane's any more.

        What its older work still holds on to is the old `Waiting`, which stays empty: a batch never has operations of
        two assignments, whatever that work tries to join or to take out.
        """
        left = self.waiting.keep(lambda _: False)
        self.waiting = self._empty()
        self.waiting_since = None
        if self._nap is not None:
            wake(self._nap)
        return left

    def shrink(self, body_bytes: int = 0) -> bool:
        """Halve the byte budget after a time-out of a body of that size; whether it changed."""
        before = self.budget_bytes
        self.budget_bytes = max(before // 2, MIN_BUDGET_BYTES)
        if body_bytes > MIN_BUDGET_BYTES:  # the time-out of a small one says nothing about size
            self._slow_bytes = min(body_bytes, self._slow_bytes)
        return self.budget_bytes != before

    def grow(self) -> bool:
        """Give the budget back after an accepted batch, up to what Customer.io takes; whether it changed.

        Doubled up to the size that was too slow, from there on in small steps: doubled into it, every second batch
        would time out for as long as the API is slow.
        """
        before = self.budget_bytes
        grown = before * 2 if before * 2 < self._slow_bytes else before + STEP_BYTES
        self.budget_bytes = min(grown, BODY_MAX_BYTES)
        if self.budget_bytes > self._slow_bytes:
            self._slow_bytes = FAST_BYTES
        return self.budget_bytes != before

    async def run(self, deliver: Callable[[Lane, Draft], Awaitable[None]]) -> None:
        """Bring one batch after the other to its end, until cancelled.

        The batch of an assignment that is over ends first, too: it may hold a request that is still on its way, and
        nobody is in two requests at once.
        """
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self.waiting:
                await self._fill()
                if self.waiting:
                    await deliver(self, self.waiting.draw(self.budget_bytes))

    async def _fill(self) -> None:
        """Wait for a full batch while so much is behind that it will soon be one. Not while batches are kept small."""
        if self._backlog is None or self.waiting.is_full or self.budget_bytes < BODY_MAX_BYTES:
            return
        self._nap = self._backlog.nap()
        if self._nap is not None:
            try:
                await self._nap
            finally:
                self._nap = None

    def _wake(self) -> None:
        if self._nap is not None and self.waiting.is_full:
            wake(self._nap)
