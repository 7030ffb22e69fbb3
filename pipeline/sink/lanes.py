"""Lanes: as many streams of batches as may be in flight at once, with every person always in the same one.

A lane has one batch in flight and draws the next when that one is at its end. So a person is never in two requests at
the same time, and whatever happens to a batch, nobody's later operations pass it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink.batching import MIN_BUDGET_BYTES, Draft, draw
from pipeline.sink.item import Item


def lane_of(key: bytes, lanes: int) -> int:
    """The lane of everything with `key`.

    CRC-32, because the partitioner is murmur2: with the same hash, a sink that owns every second partition would use
    every second lane.
    """
    return zlib.crc32(key) % lanes


class Lane:
    """One lane: what waits in it, and how large its requests may be. Belongs to one event loop."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.waiting: deque[Item] = deque()
        self.budget_bytes = BODY_MAX_BYTES
        self._filled = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add `item` behind everything else; a free lane sends it as soon as the loop turns."""
        self.waiting.append(item)
        self._filled.set()

    def clear(self) -> list[Item]:
        """Empty the lane; returns what waited."""
        items = list(self.waiting)
        self.waiting.clear()
        return items

    def shrink(self) -> bool:
        """Halve the byte budget after a time-out; whether it changed."""
        before = self.budget_bytes
        self.budget_bytes = max(before // 2, MIN_BUDGET_BYTES)
        return self.budget_bytes != before

    def grow(self) -> bool:
        """Double it again after an accepted batch, up to what Customer.io takes; whether it changed.

        Step by step: an API that is slow with large bodies would answer a budget restored at once with a time-out.
        """
        before = self.budget_bytes
        self.budget_bytes = min(before * 2, BODY_MAX_BYTES)
        return self.budget_bytes != before

    async def run(self, deliver: Callable[[Lane, Draft], Awaitable[None]]) -> None:
        """Bring one batch after the other to its end, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self.waiting:
                await deliver(self, draw(self.waiting, self.budget_bytes))
