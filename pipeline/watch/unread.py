"""How much of a worker's partitions still lies at the broker, asked for in the driver's own thread.

What was delivered says nothing about a partition from which nothing comes, and the committed offset counts a
transaction marker at the end of the log as a record. The driver's position against the end of the log is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from faust.types import TP

from pipeline.kafka.app import BatchApp
from pipeline.tasks import BackgroundTask, OnEnd
from pipeline.watch.progress import Progress

UNREAD_EVERY_S: Final = 15.0
"""One ListOffsets request a broker; the verdict that it feeds looks back five minutes."""

WITHIN_S: Final = 10.0
"""For the answer. A broker that is away longer leaves the last numbers standing."""

UNREAD: Final = BackgroundTask("unread records", OnEnd.RESTART)


class Unread:
    """Asks again and again, and tells `progress`."""

    def __init__(self, app: BatchApp, progress: Progress, every_s: float = UNREAD_EVERY_S) -> None:
        self._app = app
        self._progress = progress
        self._every_s = every_s
        self._tasks = app.background()

    async def start(self) -> None:
        """Begin asking."""
        self._tasks.start(UNREAD, self._run)

    async def stop(self) -> None:
        """End asking."""
        await self._tasks.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            # Whatever hinders the question (no broker, a rebalance, a consumer that is just stopping) is no answer.
            with suppress(Exception):
                await self.ask()

    async def ask(self) -> None:
        """Ask once; during a rebalance nothing is asked, since nothing is ours."""
        membership = self._app.membership
        generation = membership.generation
        if membership.rebalancing or generation < 0:
            return
        thread: Any = self._app.consumer._thread  # type: ignore[attr-defined] # noqa: SLF001 - the driver's thread is where aiokafka may be called
        asking = asyncio.run_coroutine_threadsafe(_unread(thread._ensure_consumer()), thread.thread_loop)  # noqa: SLF001
        unread = await asyncio.wait_for(asyncio.wrap_future(asking), WITHIN_S)
        if membership.generation == generation:
            self._progress.saw(unread)


async def _unread(consumer: Any) -> Mapping[TP, int]:
    """Records beyond the driver's position, by assigned partition."""
    partitions = list(consumer.assignment())
    if not partitions:
        return {}
    ends = await consumer.end_offsets(partitions)
    return {TP(tp.topic, tp.partition): max(ends[tp] - await consumer.position(tp), 0) for tp in partitions}
