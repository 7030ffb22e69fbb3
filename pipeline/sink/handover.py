"""The sink's side of giving partitions away: begin nothing new, end what was begun, go on under a new generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from faust.types import TP

NEVER = -1
"""Before the first assignment."""

FINISH_S: Final = 5.0
"""How long after `begin` requests may still leave. A usual answer then comes within the 9 s that Kafka's side grants;
a request that begins later would end in nobody's time and be repeated by the next owner."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """One stay in the group, from a `resume` to the next; whatever was delivered in it belongs to it.

    Compared by identity and not by the generation's number: a static member that joins again is given the generation
    that it had (KIP-345), and so is a group that was deleted and begins again at 1.
    """

    generation: int
    partitions: frozenset[TP]


NOWHERE: Final = Assignment(NEVER, frozenset())
"""The stay before the first."""


class SinkHandOver:
    """Whether work may begin, for which assignment, and what is left of it. Belongs to one event loop.

    Fits `pipeline.kafka.worker.handover.HandOver`. Three phases: *open* between `resume` and `begin`; *finishing* for
    at most `FINISH_S` after that, in which only operations leave that stand in front of some that already left (the
    group's offset is a contiguous prefix: what stays behind would let the next owner repeat all beyond it); then
    *shut*. Every wait that is not a request in flight is a nap, and each change of phase ends all naps at once.
    """

    def __init__(self) -> None:
        self.assignment = NOWHERE
        self.is_open = False
        self.is_finishing = False
        self.on_begin: list[Callable[[], None]] = []
        self.on_resume: list[Callable[[Assignment], None]] = []
        self._naps: set[asyncio.Future[bool]] = set()
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._until: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The partitions are about to go, or the worker stops. A second call does nothing."""
        if not self.admits(self.assignment):
            return
        self.is_finishing = True
        self._end_naps()
        for react in self.on_begin:
            react()
        if self._held:
            self._until = asyncio.get_running_loop().call_later(FINISH_S, self.shut)
        else:
            self.shut()

    def shut(self) -> None:
        """From now on nothing leaves until the next `resume`."""
        self.is_open = self.is_finishing = False
        if self._until is not None:
            self._until.cancel()
            self._until = None
        self._end_naps()

    async def drained(self) -> None:
        """Return when no operation is held any more."""
        await self._idle.wait()
        self.abandon()

    def is_vain(self) -> bool:
        """Never: a request that is on its way changes Customer.io whoever owns the partition by now.

        Its end is waited for, so that nothing of the next assignment overtakes it.
        """
        return False

    def abandon(self) -> None:
        """Let nothing leave any more that the hand-over was waiting for."""
        if self.is_finishing:
            self.shut()

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Records of `assigned` flow under `generation`; nothing of an older assignment waits any more."""
        self.begin()  # a transport that resumes without a begin in between still ends the older assignment's work
        self.shut()
        self.assignment = Assignment(generation, assigned)
        for react in self.on_resume:
            react(self.assignment)
        self.is_open = True

    def admits(self, assignment: Assignment) -> bool:
        """Whether new work for records delivered in `assignment` may begin."""
        return self.is_open and not self.is_finishing and assignment is self.assignment

    def finishes(self, assignment: Assignment) -> bool:
        """Whether records delivered in `assignment` are being brought to an end."""
        return self.is_finishing and assignment is self.assignment

    def took(self, operations: int = 1) -> None:
        """So many more are held: they wait in a lane, or a request or a dead letter of theirs is on its way."""
        self._held += operations
        self._idle.clear()

    def released(self, operations: int) -> None:
        """So many operations are done, or left to the next owner."""
        self._held -= operations
        if not self._held:
            self._idle.set()

    def nap(self, seconds: float) -> asyncio.Future[bool]:
        """A wait of `seconds`: True when it is over or `wake` ended it, False when the phase changed."""
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

    def _end_naps(self) -> None:
        for nap in list(self._naps):
            wake(nap, on=False)


def wake(nap: asyncio.Future[bool], *, on: bool = True) -> None:
    """End a nap early; `on` is what it returns. One that is over stays as it is."""
    if not nap.done():
        nap.set_result(on)
