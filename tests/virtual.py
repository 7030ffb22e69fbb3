"""Time that jumps: minutes of backoff pass in no time, and always alike."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """When nothing is ready, the time of the next timer is now."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Never waits."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("deadlock: no timer and no event is left to wait for")
            # A clock never stands still between two looks: a wait for the last 1e-12 s would come again for ever.
            self.now += max(timeout, 1e-6) if timeout > 0 else 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._clock.now


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in virtual time; what it draws by `random` (jitter) is the same in every run."""
    before = random.getstate()
    random.seed(6)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(work)
    finally:
        random.setstate(before)
