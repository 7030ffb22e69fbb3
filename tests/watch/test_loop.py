"""A late event loop shows."""

from __future__ import annotations

import asyncio
import time

from pipeline.watch.loop import WINDOW, LoopLag
from pipeline.watch.metrics import Metrics

NAME = "dodo_cio_event_loop_lag_seconds"


def test_shows_the_worst_recent_delay() -> None:
    """One stall stays visible for the window, then gives way."""
    metrics = Metrics("sink")
    lag = LoopLag(metrics, lambda: None)
    lag.observe(1.5)
    for _ in range(WINDOW - 1):
        lag.observe(-0.001)
    assert metrics.registry.get_sample_value(NAME) == 1.5
    lag.observe(0.25)
    assert metrics.registry.get_sample_value(NAME) == 0.25


async def test_measures_a_blocked_loop() -> None:
    """A computation that holds the loop past a wake-up is measured."""
    metrics = Metrics("sink")
    beaten = asyncio.Event()
    task = asyncio.create_task(LoopLag(metrics, beaten.set).run())
    await asyncio.sleep(0)
    time.sleep(0.8)  # noqa: ASYNC251 - the fault that the gauge exists for
    await beaten.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    shown = metrics.registry.get_sample_value(NAME)
    assert shown is not None
    assert shown >= 0.25


async def test_shows_how_many_tasks_there_are() -> None:
    """As many as the loop has when somebody asks."""
    metrics = Metrics("sink")
    tasks = [asyncio.create_task(LoopLag(metrics, lambda: None).run())]
    await asyncio.sleep(0)
    name = "dodo_cio_event_loop_tasks"
    before = metrics.registry.get_sample_value(name)
    tasks += [asyncio.create_task(asyncio.sleep(3600)) for _ in range(5)]
    after = metrics.registry.get_sample_value(name)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert before == len({asyncio.current_task(), tasks[0]})
    assert after == before + 5
