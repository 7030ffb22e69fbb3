"""What lives as long as a worker (producers, clients, servers): first to start, last to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mode import Service

from pipeline import logs

Step = Callable[[], Awaitable[None]]

log = logs.get(__name__)


class Companions(Service):
    """Starts each companion before the consumer joins its group, stops it after the partitions were handed over."""

    def __init__(self, **options: Any) -> None:
        self._pairs: list[tuple[Step, Step]] = []
        self._running: list[Step] = []
        super().__init__(**options)

    def add(self, start: Step, stop: Step) -> None:
        """Keep one more, behind those given so far."""
        self._pairs.append((start, stop))

    async def on_start(self) -> None:
        """Start them in the order given; one that fails ends the worker, and those before it are stopped.

        Told to end meanwhile, `on_stop` has stopped those that ran: the one that was starting is stopped here, and no
        further one starts.
        """
        for start, stop in self._pairs:
            await start()
            self._running.append(stop)
            if self.should_stop:
                await self.on_stop()
                return

    async def on_stop(self) -> None:
        """Stop those that were started, the last one first; one that fails does not keep the others."""
        while self._running:
            stop = self._running.pop()
            try:
                await stop()
            except Exception:
                log.exception("A companion did not stop")
