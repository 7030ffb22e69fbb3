"""Records that may be lost: written beside the flow, which never waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.incidents import Incident
from pipeline.kafka.closing import close_producer
from pipeline.kafka.reconnect import steady
from pipeline.kafka.records import OutRecord
from pipeline.kafka.security import client_options
from pipeline.observers import tell
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

MOST: Final = 1_000
"""Records in waiting; a few MB. What comes while so many wait is lost."""

TOGETHER: Final = 200
"""Records between two waits for the brokers."""

WITHIN_S: Final = 30.0
RETRY_S: Final = 5.0
STOP_S: Final = 2.0

WRITING: Final = BackgroundTask("records aside", OnEnd.RESTART)

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class WrittenAside:
    """So many records were written, or lost."""

    written: int = 0
    lost: int = 0


class Aside:
    """Writes to a topic from a queue with an end; no trouble of it reaches anybody.

    Args:
        settings: of the connection.
        topic: where to; it need not exist.
        tasks: runs the writing.
        observe: called with what was written and what was lost.
        retry_s: seconds after a failure.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        tasks: Tasks,
        observe: Callable[[WrittenAside], None],
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._settings, self._topic, self._tasks, self._observe = settings, topic, tasks, observe
        self._retry_s = retry_s
        self._queue: deque[OutRecord] = deque()
        self._changed = asyncio.Event()
        self._trouble = Incident(log, "Records aside are not written", "Records aside are written again")

    def put(self, record: OutRecord) -> None:
        """Let it be written, some time; lost when too many wait."""
        if len(self._queue) >= MOST:
            tell((self._observe,), WrittenAside(lost=1))
            return
        self._queue.append(record)
        self._changed.set()

    async def start(self) -> None:
        """Begin; the brokers may be away."""
        self._tasks.start(WRITING, self._write)

    async def stop(self) -> None:
        """End within seconds; what waits is lost."""
        await self._tasks.stop()
        if self._queue:
            tell((self._observe,), WrittenAside(lost=len(self._queue)))
            self._queue.clear()

    async def _write(self) -> None:
        while True:
            try:
                await self._connected()
            except (KafkaError, OSError, PipelineError) as error:
                self._trouble.failed(error)
                await asyncio.sleep(self._retry_s)

    async def _connected(self) -> None:
        producer = AIOKafkaProducer(
            **client_options(self._settings), request_timeout_ms=int(WITHIN_S * 1000), acks=1, linger_ms=50
        )
        steady(producer.client)
        try:
            async with asyncio.timeout(WITHIN_S):
                await producer.start()
            while True:
                await self._changed.wait()
                self._changed.clear()
                while self._queue:
                    await self._some(producer)
        finally:
            await close_producer(producer, STOP_S)

    async def _some(self, producer: AIOKafkaProducer) -> None:
        batch = [self._queue.popleft() for _ in range(min(TOGETHER, len(self._queue)))]
        written = 0
        try:
            async with asyncio.timeout(WITHIN_S):
                sent = [
                    await producer.send(self._topic, one.value, one.key, headers=list(one.headers)) for one in batch
                ]
                for done in await asyncio.gather(*sent, return_exceptions=True):
                    if isinstance(done, BaseException):
                        raise done
                    written += 1
        finally:
            tell((self._observe,), WrittenAside(written, len(batch) - written))
        self._trouble.succeeded()
