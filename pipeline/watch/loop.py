"""Measures how late the event loop is: the first sign of code that computes too long without a pause."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from pipeline.tasks import BackgroundTask, OnEnd
from pipeline.watch.metrics import Metrics

INTERVAL_S: Final = 0.5
WINDOW: Final = 60
"""Samples that the gauge covers (30 s): a scrape must not miss a stall that is over by then."""

LAG: Final = BackgroundTask("event loop lag", OnEnd.RESTART)


class LoopLag:
    """Sleeps for a fixed time again and again, and measures by how much it woke too late.

    `dodo_cio_event_loop_lag_seconds` is the worst of the last 30 s. `on_beat` is called at every sample. It also shows
    how many tasks the loop has: a number that only rises is a leak.
    """

    def __init__(self, metrics: Metrics, on_beat: Callable[[], None]) -> None:
        self._gauge = metrics.gauge(
            "event_loop_lag_seconds", "Worst delay of the event loop in the last 30 s; heartbeats suffer above 1."
        )
        self._tasks = metrics.gauge("event_loop_tasks", "Tasks of the event loop at the moment of the scrape.")
        self._on_beat = on_beat
        self._samples: deque[float] = deque(maxlen=WINDOW)

    async def run(self) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        while True:
            asleep = loop.time()
            await asyncio.sleep(INTERVAL_S)
            self.observe(loop.time() - asleep - INTERVAL_S)
            self._on_beat()

    def observe(self, lag_s: float) -> None:
        """Add one sample."""
        self._samples.append(max(lag_s, 0.0))
        self._gauge.set(max(self._samples))
