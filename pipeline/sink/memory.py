"""Memory: how many bytes of records wait in this process.

Taken for each record when it is admitted and released when it is done. Never for a whole chunk: a decompressed chunk
can be larger than the budget, and would wait for ever for room that only its own records could free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

LENT_BYTES: Final = 4 * 1024 * 1024
"""Beyond the budget while nothing succeeds: of some thousand records one will show whose fault that is."""


class Memory:
    """A budget of bytes with one line of waiters, first come, first served. Belongs to one event loop."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.taken_bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[bool]]] = deque()

    def try_take(self, size: int) -> bool:
        """Take `size` bytes if there is room now and nobody waits. More than the whole budget passes when alone."""
        if self._waiters or not self._fits(size):
            return False
        self.taken_bytes += size
        return True

    def try_take_all(self, size: int) -> bool:
        """The same for several records together, which have no right to pass beyond the budget."""
        return size <= self.budget_bytes and self.try_take(size)

    async def take(self, size: int) -> bool:
        """Take `size` bytes, waiting for room; False when `interrupt` came first, and then nothing is taken."""
        if self.try_take(size):
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.release(size)
            else:
                self._waiters = deque(entry for entry in self._waiters if entry[1] is not waiter)
                self._grant()
            raise

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.taken_bytes -= size
        self._grant()

    def lend(self) -> None:
        """Let one record pass beyond the budget: those inside wait for somebody else's success, and it may be that."""
        while self._waiters and self.taken_bytes + self._waiters[0][0] <= self.budget_bytes + LENT_BYTES:
            size, waiter = self._waiters.popleft()
            if not waiter.done():
                self.taken_bytes += size
                waiter.set_result(True)
                return

    def interrupt(self) -> None:
        """End every wait: the partitions are about to go, and what waits is not ours any more."""
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(False)

    def _fits(self, size: int) -> bool:
        return not self.taken_bytes or self.taken_bytes + size <= self.budget_bytes

    def _grant(self) -> None:
        while self._waiters:
            size, waiter = self._waiters[0]
            if not waiter.done():
                if not self._fits(size):
                    return
                self.taken_bytes += size
                waiter.set_result(True)
            self._waiters.popleft()
