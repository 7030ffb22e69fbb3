"""The sink's side of giving partitions away: begin nothing new, end what is in flight, go on under a new generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faust.types import TP

NEVER = -1
"""Before the first assignment."""


class SinkHandOver:
    """Whether work may begin, for which generation, and what is in flight. Belongs to one event loop.

    Fits `pipeline.kafka.handover.HandOver`. Between `resume` and `begin` the sink is open; every wait that is not a
    request in flight is a nap, and `begin` ends all naps at once.
    """

    def __init__(self) -> None:
        self.generation = NEVER
        self.is_open = False
        self.on_begin: list[Callable[[], None]] = []
        self.on_resume: list[Callable[[int, frozenset[TP]], None]] = []
        self._naps: set[asyncio.Future[bool]] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """The partitions are about to go, or the worker stops. A second call does nothing."""
        if not self.is_open:
            return
        self.is_open = False
        for nap in list(self._naps):
            wake(nap, on=False)
        for react in self.on_begin:
            react()

    async def drained(self) -> None:
        """Return when no request and no dead letter is in flight."""
        await self._idle.wait()

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Records of `assigned` flow under `generation`."""
        self.begin()  # a transport that resumes without a begin in between still ends the older generation's work
        self.generation = generation
        self.is_open = True
        for react in self.on_resume:
            react(generation, assigned)

    def admits(self, generation: int) -> bool:
        """Whether records delivered under `generation` may still be worked on."""
        return self.is_open and generation == self.generation

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """What happens inside is waited for by `drained`."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def nap(self, seconds: float) -> asyncio.Future[bool]:
        """A wait of `seconds`: True when it is over or `wake` ended it, False when a hand-over began."""
        loop = asyncio.get_running_loop()
        nap: asyncio.Future[bool] = loop.create_future()
        if not self.is_open:
            nap.set_result(False)
            return nap
        timer = loop.call_later(seconds, wake, nap)
        self._naps.add(nap)

        def over(_: asyncio.Future[bool]) -> None:
            timer.cancel()
            self._naps.discard(nap)

        nap.add_done_callback(over)
        return nap


def wake(nap: asyncio.Future[bool], *, on: bool = True) -> None:
    """End a nap early; `on` is what it returns. One that is over stays as it is."""
    if not nap.done():
        nap.set_result(on)
