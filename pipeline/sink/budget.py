"""The request budget: this sink's share of the workspace's rate, and its pace.

The rate belongs to the workspace; each sink spends the part that its partitions are of all partitions, so the shares
add up to the whole without the sinks talking to each other.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from pipeline.sink.handover import SinkHandOver

TIMER_LATE_S: Final = 0.005
"""How late a timer may fire without slowing the pace: loops count in milliseconds, and 1,000 requests per second have
one each. A burst after a stall has at most this many milliseconds' worth of requests."""


def share(limit_per_second: float, own: int, total: int) -> float:
    """Requests per second that a sink with `own` of `total` partitions may send; 0 without partitions."""
    return limit_per_second * own / total if total > 0 else 0.0


class Budget(Protocol):
    """Where every request, retries included, gets its turn."""

    @property
    def per_second(self) -> float:
        """The rate in force."""

    def assign(self, own: int, total: int) -> None:
        """The sink now has `own` of `total` partitions."""

    async def turn(self) -> bool:
        """Wait for the next request's turn; False when a hand-over began."""


class PacedBudget:
    """Requests spread evenly over each second, one at a time: no saved-up burst after a pause.

    The first request comes one interval after an assignment, since the partitions' former owner may have spent its
    share of this second.
    """

    def __init__(self, limit_per_second: float, handover: SinkHandOver) -> None:
        self._limit = limit_per_second
        self._handover = handover
        self._interval_s = 1.0 / limit_per_second
        self._next = 0.0
        self._line = asyncio.Lock()

    @property
    def per_second(self) -> float:
        """The rate in force."""
        return 1.0 / self._interval_s

    def assign(self, own: int, total: int) -> None:
        """Take the share of `own` of `total` partitions; without any the pace stays as it is, nothing is sent."""
        rate = share(self._limit, own, total)
        if rate > 0:
            self._interval_s = 1.0 / rate
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now + self._interval_s)

    async def turn(self) -> bool:
        """Wait for the next request's turn, first come, first served; False when a hand-over began."""
        loop = asyncio.get_running_loop()
        async with self._line:
            while (wait_s := self._next - loop.time()) > 0:
                if not await self._handover.nap(wait_s):
                    return False
            if not self._handover.is_open:
                return False
            # From the slot if the timer was merely late, else from now: a pause is not made up for.
            now = loop.time()
            self._next = (self._next if now - self._next < TIMER_LATE_S else now) + self._interval_s
            return True
