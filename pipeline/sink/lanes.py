"""Lanes: as many batches as may be in flight at once.

All that waits is in one place (`batching.Waiting`), where no person is in two requests. One lane at a time is the next:
it draws when its request may leave, and so takes along all that has come in by then. While Customer.io answers faster
than requests may leave, the next lane is free again before its turn, and one or two lanes do all the work; when answers
are slow, more batches are in flight, as many as there are lanes. So their number needs no setting by rate and round
trip, and nobody waits for the turns of lanes that have little to send.

A batch that fails is shared out among the lanes that are free: most of its people then have nothing to do with whoever
makes it fail, and when all lanes fail it is an outage and not one bad record.

A free lane sends what there is, unless `backlog` expects a full batch soon.

Records that need no request, but a dead letter, need no lane either: all lanes may hold what fails, and nothing but the
operations behind such a record may be left to show whose fault that is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink.backlog import Backlog
from pipeline.sink.batching import MIN_BUDGET_BYTES, Waiting
from pipeline.sink.group import Group
from pipeline.sink.handover import NOWHERE, Assignment, wake
from pipeline.sink.item import Item

STEP_BYTES: Final = BODY_MAX_BYTES // 32
"""How far the byte budget feels its way up to a size that was too slow before."""

FAST_BYTES: Final = 2 * BODY_MAX_BYTES + 1
"""No size is known to be too slow."""

Deliver = Callable[["Lane", "Queue", Callable[[], None]], Awaitable[None]]
"""Bring the next batch of a queue to its end in a lane, and call the function when it is drawn."""

GiveUp = Callable[["Queue"], Awaitable[None]]
"""Bring the faults of a queue to their end."""


class Queue:
    """What waits for the lanes of one sink, and which of them is the next. Belongs to one event loop."""

    def __init__(self, backlog: Backlog | None = None) -> None:
        self._backlog = backlog
        self._ready = asyncio.Event()
        self._faulty = asyncio.Event()
        self._next = asyncio.Lock()
        self._nap: asyncio.Future[bool] | None = None
        self.assignment = NOWHERE
        self.waiting = self._empty(())
        self._shared: deque[Group] = deque()

    def __bool__(self) -> bool:
        return bool(self._shared or self.waiting)

    @property
    def is_ready(self) -> bool:
        """Whether a free lane has something to do."""
        return bool(self._shared) or self.waiting.has_batch

    @property
    def shared(self) -> Iterator[Item]:
        """What was shared out and no lane has taken yet."""
        return (item for group in self._shared for item in group.items)

    def share_out(self, groups: Sequence[Group]) -> None:
        """Let free lanes bring these to their end: parts of a batch that was drawn, no person in two of them."""
        self._shared.extend(groups)
        self._ready.set()

    def take_shared(self) -> Group | None:
        """Take what was shared out first; None when nothing is."""
        return self._shared.popleft() if self._shared else None

    def keep(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Let only the wanted operations wait on; returns the others."""
        left: list[Item] = []
        groups, self._shared = self._shared, deque()
        for group in groups:
            kept, others = group.kept(wanted)
            left += others
            if kept is not None:
                self._shared.append(kept)
        return left + self.waiting.keep(wanted)

    def _empty(self, in_hand: Iterable[bytes]) -> Waiting:
        return Waiting(in_hand=in_hand, began=self._ready.set, filled=self._wake, faulty=self._faulty.set)

    def put(self, item: Item) -> None:
        """Add what was delivered in the assignment of this moment."""
        self.waiting.put(item)

    def release(self, keys: Iterable[bytes]) -> None:
        """Nothing of these keys that was drawn is undecided any more."""
        self.waiting.release(keys)

    def renew(self, assignment: Assignment, in_hand: Iterable[bytes]) -> list[Item]:
        """Begin anew for another assignment; returns what waited, which is not this sink's any more.

        Keys `in_hand` are in requests of the assignment before, which are on their way: theirs wait until `release`.
        What older work still holds on to is the old `Waiting`, which stays empty: a batch never has operations of two
        assignments, whatever that work tries to take out.
        """
        left = self.keep(lambda _: False)
        self.waiting, self.assignment = self._empty(in_hand), assignment
        if self._nap is not None:
            wake(self._nap)
        return left

    async def run(self, lane: Lane, deliver: Deliver) -> None:
        """Let `lane` bring one batch after the other to its end, until cancelled."""
        while True:
            await self._next.acquire()
            is_next = True

            def drawn() -> None:
                nonlocal is_next
                if is_next:
                    is_next = False
                    self._next.release()

            try:
                await self._something()
                await self._fill(lane)
                if self.is_ready:
                    await deliver(lane, self, drawn)
            finally:
                drawn()

    async def run_faults(self, give_up: GiveUp) -> None:
        """Let what needs no request be brought to its end whenever it is due, until cancelled."""
        while True:
            self._faulty.clear()
            if self.waiting.has_faults:
                await give_up(self)
            else:
                await self._faulty.wait()

    async def _something(self) -> None:
        """Wait until something can be drawn."""
        while not self.is_ready:
            self._ready.clear()
            await self._ready.wait()

    async def _fill(self, lane: Lane) -> None:
        """Wait for a full batch while so much is behind that it will soon be one. Not while batches are kept small."""
        if self._backlog is None or self._shared or self.waiting.is_full or lane.budget_bytes < BODY_MAX_BYTES:
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


class Lane:
    """One lane: how large its requests may be."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.budget_bytes = BODY_MAX_BYTES
        self._slow_bytes = FAST_BYTES

    def shrink(self, body_bytes: int = 0) -> bool:
        """Halve the byte budget after a time-out of a body of that size; whether it changed."""
        before = self.budget_bytes
        self.budget_bytes = max(before // 2, MIN_BUDGET_BYTES)
        if body_bytes > MIN_BUDGET_BYTES:  # the time-out of a small one is not caused by its size
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
