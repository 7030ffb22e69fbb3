"""How much of a worker's partitions still lies at the broker, asked for in the driver's own thread.

What was delivered shows nothing about a partition from which nothing comes, and the committed offset counts a
transaction marker at the end of the log as a record. The driver's position against the end of what can be read is
exact: nobody can read what lies behind an open transaction before that ends, and a restart does not help.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from aiokafka.errors import KafkaError
from faust.types import TP

from pipeline.kafka.worker.app import BatchApp
from pipeline.tasks import BackgroundTask, OnEnd
from pipeline.watch.lateness import Lateness
from pipeline.watch.progress import Progress

UNREAD_EVERY_S: Final = 15.0
"""One ListOffsets request a partition; the verdict that it feeds looks back five minutes."""

WITHIN_S: Final = 10.0
"""For the answer about a partition. A broker that is away longer leaves its last number standing, and nobody is blamed
for not reading from it."""

THREAD_S: Final = 5.0
"""More than that for the driver's thread to hand all of them over."""

UNREAD: Final = BackgroundTask("unread records", OnEnd.RESTART)


class Unread:
    """Asks again and again, and reports to `progress`."""

    def __init__(
        self, app: BatchApp, progress: Progress, every_s: float = UNREAD_EVERY_S, lateness: Lateness | None = None
    ) -> None:
        self._app = app
        self._lateness = lateness
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
        async with asyncio.timeout(WITHIN_S + THREAD_S):
            unread, away = await asyncio.wrap_future(asking)
        if membership.generation == generation:
            self._progress.saw(unread)
            if self._lateness is not None:
                for tp, records in unread.items():
                    self._lateness.unread(tp, records)
            self._progress.attempted(away)


async def _unread(consumer: Any) -> tuple[dict[TP, int], list[TP]]:
    """Records beyond the driver's position, by assigned partition; and those about which no broker answers.

    Each is asked for alone: together, one partition without a leader would leave all of them without an answer.
    """

    async def of(tp: Any) -> int:
        async with asyncio.timeout(WITHIN_S):
            end: int = (await consumer.end_offsets([tp]))[tp]
            position: int = await consumer.position(tp)
        return max(end - position, 0)

    partitions = list(consumer.assignment())
    answers = await asyncio.gather(*map(of, partitions), return_exceptions=True)
    unread, away = {}, []
    for tp, answer in zip(partitions, answers, strict=True):
        match answer:
            case int():
                unread[TP(tp.topic, tp.partition)] = answer
            case TimeoutError() | KafkaError(retriable=True):
                away.append(TP(tp.topic, tp.partition))
    return unread, away
