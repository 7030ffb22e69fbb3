"""Counts the records of a worker's partitions that are still at the broker, in the driver's own thread.

Deliveries show nothing about a partition that delivers nothing, and the committed offset counts a transaction marker at
the end of the log as a record. The distance between the driver's position and the end of what can be read is exact:
records after an open transaction cannot be read before it ends, and a restart does not help.
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
"""Each time takes one ListOffsets request a partition; the verdict that uses it looks back five minutes."""

WITHIN_S: Final = 10.0
"""For the answer about a partition. If a broker does not answer in time, the last number stays, and the partition does
not count as one without progress."""

THREAD_S: Final = 5.0
"""More than that for the driver's thread to hand all of them over."""

UNREAD: Final = BackgroundTask("unread records", OnEnd.RESTART)


class Unread:
    """Asks the brokers every `every_s`, and reports to `progress`."""

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
            # Any failure (no broker, a rebalance, a consumer that is just stopping) counts as no answer.
            with suppress(Exception):
                await self.ask()

    async def ask(self) -> None:
        """Ask once; not during a rebalance, when no partition is assigned."""
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
    """Records beyond the driver's position, by assigned partition; and the partitions for which no broker answers.

    There is a request for each: in a common one, a single partition without a leader would leave all without an answer.
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
