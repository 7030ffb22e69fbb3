"""Backlog: whether the topic holds so much more that a batch is worth a moment's wait until it is full.

A lane that is free sends what it has. After an outage that would be a part of a batch, again and again, and requests
cost the time in which records could come in. How far a partition's end is away comes with every chunk; near it nothing
is ever waited for.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pipeline.sink.acks import Delivered
from pipeline.sink.handover import SinkHandOver, wake

BACKLOG_RECORDS: Final = 1_000
"""In one partition. Above what a burst leaves behind, and above the few offsets of markers that are no records."""

FILL_S: Final = 0.25
"""2,500 operations of 200 bytes fill a batch, within a quarter of a second at 10,000 a second: the least worth a wait.
Also the longest time for which somebody's operation waits when all others belong to one customer."""


class Backlog:
    """Which partitions are far behind, and the lanes that wait for more. Belongs to one event loop."""

    def __init__(self, handover: SinkHandOver) -> None:
        self._handover = handover
        self._behind: set[tuple[str, int]] = set()
        self._stalled = False
        self._naps: set[asyncio.Future[bool]] = set()
        handover.on_begin.append(self.forget)

    def taken(self, batch: Delivered) -> None:
        """All of `batch` is in the lanes."""
        place = (batch.topic, batch.partition)
        if batch.behind >= BACKLOG_RECORDS:
            self._behind.add(place)
        elif self._behind:
            self._behind.discard(place)
            if not self._behind:
                self._wake()

    def stall(self) -> None:
        """Nothing comes in until something has left."""
        self._stalled = True
        self._wake()

    def flow(self) -> None:
        """There is room again."""
        self._stalled = False

    def forget(self) -> None:
        """The partitions are about to go."""
        self._behind.clear()
        self._wake()

    def nap(self) -> asyncio.Future[bool] | None:
        """A wait of at most `FILL_S`, which `wake` ends sooner; None when nothing is worth waiting for."""
        if not self._behind or self._stalled:
            return None
        nap = self._handover.nap(FILL_S)
        self._naps.add(nap)
        nap.add_done_callback(self._naps.discard)
        return nap

    def _wake(self) -> None:
        for nap in list(self._naps):
            wake(nap)
