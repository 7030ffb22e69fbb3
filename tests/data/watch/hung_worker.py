"""A transform or a sink of which one inner part hangs, or is killed, once the file `now` lies in its directory.

The file `hangs` lies there when it does.

Run by tests/watch/test_hung.py in a process of its own: `hung_worker.py STAGE PART`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.kafka.worker.process import run_worker
from pipeline.settings import Settings
from pipeline.sink.lanes import Queue
from pipeline.sink.sink import Sink
from pipeline.statestore.partitions import PartitionStores
from pipeline.transform.flow import Flow
from pipeline.watch import worker as watched

PATIENCE_S = 3.0
FOR_EVER_S = 1e6


async def never(*_: Any, **__: Any) -> None:
    """Hangs."""
    await asyncio.Event().wait()


def killed(tasks: Iterable[Any]) -> None:
    """Ends them."""
    for task in list(tasks):
        task.cancel()


def hang(app: Any, part: str) -> None:
    """Runs in a thread of its own."""
    driver = app.consumer._thread
    consumer = driver._consumer
    in_driver = driver.thread_loop.call_soon_threadsafe
    match part:
        case "driver's loop":
            in_driver(time.sleep, FOR_EVER_S)
        case "main loop":
            app.loop.call_soon_threadsafe(time.sleep, FOR_EVER_S)
        case "fetcher":
            consumer._fetcher._proc_fetch_request = never
        case "heartbeat":
            consumer._coordinator._do_heartbeat = never
        case "drain":
            app.consumer._wait_next_records = never
        case "killed drain":
            app.loop.call_soon_threadsafe(killed, app._fetcher._futures)
        case "coordinator":
            consumer._coordinator.ensure_active_group = never
            in_driver(consumer._coordinator.request_rejoin)
        case "join":
            consumer._coordinator._do_rejoin_group = never
            in_driver(consumer._coordinator.request_rejoin)
        case "killed agent":
            actors = [actor.actor_task for agent in app.agents.values() for actor in agent._actors]
            app.loop.call_soon_threadsafe(killed, actors)
        case "agent":
            Flow.take = Sink.take = never  # type: ignore[method-assign]
        case "lanes":
            Queue._fill = never  # type: ignore[method-assign]
        case "killed fetcher":
            in_driver(consumer._fetcher._fetch_task.cancel)
        case "killed heartbeat":
            in_driver(consumer._coordinator._heartbeat_task.cancel)
        case "killed coordinator":
            in_driver(consumer._coordinator._coordination_task.cancel)
        case _:
            raise ValueError(part)


def main(stage: str, part: str) -> int:
    """Run until a signal, or the end that the part's causes."""
    settings = Settings.load()
    defaults: Any = watched.WorkerWatch.__init__.__kwdefaults__
    defaults |= {"patience_s": PATIENCE_S, "unread_every_s": 0.2}
    if part == "restore":
        PartitionStores.restore = never  # type: ignore[method-assign]
    app = importlib.import_module(f"pipeline.{stage}.worker").create_app(settings)

    def wait() -> None:
        while not Path("now").exists():
            time.sleep(0.05)
        hang(app, part)
        Path("hangs").touch()

    if part != "restore":
        threading.Thread(target=wait, daemon=True).start()
    return run_worker(app, settings)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
