"""The outlet of a partition: writes the batches of chunks in the order of `put`, one at a time.

aiokafka gets one batch of a partition at a time: with several waiters a partition's time-out shrinks (each subtracts
the time of all), and the order of waiters is not guaranteed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import (
    InvalidTimestampError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from faust.types import TP

from pipeline.errors import BrokenSequenceError, DeliveryError, PipelineError, TopicError
from pipeline.kafka.events import BatchProduced, ProducerEvent, ProduceStalled
from pipeline.kafka.records import LOG_APPEND_TIME
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

UNKNOWN_OFFSET: Final = -1

STALL_S: Final = 30.0
"""A batch in flight for so long is reported as stalled: a partition without enough replicas means a long wait, and a
stage that waits for the batch is not a dead process."""

WRITER: Final = BackgroundTask("outlet", OnEnd.TELL, returns=True)

SendBatch = Callable[..., Awaitable[asyncio.Future[Any]]]
"""aiokafka's `send_batch(builder, topic, partition=…)`: returns once the batch has its place, with a future of its
delivery."""


@dataclass(slots=True, eq=False)
class Part:
    """The batches of one chunk for one partition, in order; the last one is being filled."""

    tp: TP
    builders: list[Any]
    base_offset: int = UNKNOWN_OFFSET
    next_offset: int = UNKNOWN_OFFSET
    gapless: bool = True


Delivered = Callable[[Part, int, int, BaseException | None], None]
"""Part, offset of the first record, how many records; or the error."""


@dataclass(slots=True, eq=False)
class _Waiting:
    builder: Any
    delivered: Delivered
    part: Part
    since: float


class Outlet:
    """Writes the batches of one partition in the order of `put`."""

    def __init__(
        self,
        tp: TP,
        send_batch: SendBatch,
        tell: Callable[[ProducerEvent], None],
        tasks: Tasks | None = None,
    ) -> None:
        self.tp = tp
        self._send_batch = send_batch
        self._tell = tell
        self._queue: deque[_Waiting] = deque()
        self._tasks = tasks or Tasks()
        self._task: asyncio.Task[None] | None = None
        self._flying: dict[asyncio.Future[Any], _Waiting] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._broken: PipelineError | None = None

    def put(self, builder: Any, delivered: Delivered, part: Part) -> None:
        """Write `builder`'s batch behind all others; `delivered` is called once, from the event loop."""
        waiting = _Waiting(builder, delivered, part, time.monotonic())
        if self._broken is not None:
            self._fail(waiting, self._broken)
            return
        self._queue.append(waiting)
        if self._task is None:
            self._task = self._tasks.start(WRITER, self._write, which=self.tp, failed=self._writer_failed)

    async def drained(self) -> None:
        """Return when nothing waits or is in flight."""
        while self._task is not None or self._flying:
            await asyncio.wait({*self._flying, *((self._task,) if self._task else ())})

    def close(self, error: PipelineError | None = None) -> None:
        """Write no more; what is not known to be durable fails, with `error` if that is why."""
        if self._task is not None:
            self._tasks.let_end(self._task)
            self._task.cancel()
        if self._looking is not None:
            self._looking.cancel()
        stopped = error or DeliveryError(
            f"{self.tp.topic}/{self.tp.partition}: the producer stopped before a batch was acknowledged"
        )
        for future, waiting in self._flying.items():
            future.remove_done_callback(self._landed)
            self._fail(waiting, self._broken or stopped)
        self._flying.clear()
        self._break(stopped)

    async def _write(self) -> None:
        try:
            while self._queue and self._broken is None:
                waiting = self._queue[0]
                future = await self._enqueue(waiting)
                self._queue.popleft()
                self._flying[future] = waiting
                future.add_done_callback(self._landed)
                self._look_later()
        except Exception as error:  # noqa: BLE001 - whatever it was, the batches behind must fail as well
            self._break(self._fault(error))
        finally:
            self._task = None

    def _writer_failed(self, error: BaseException) -> None:
        self._break(self._fault(error))

    async def _enqueue(self, waiting: _Waiting) -> asyncio.Future[Any]:
        """Give the batch its place in aiokafka, for as long as it takes: a time-out means that nothing happened."""
        while True:
            try:
                return await self._send_batch(waiting.builder, self.tp.topic, partition=self.tp.partition)
            except KafkaTimeoutError:
                self._tell(ProduceStalled(self.tp.topic, self.tp.partition, time.monotonic() - waiting.since))

    def _look_later(self) -> None:
        if self._looking is None and self._flying:
            self._looking = asyncio.get_running_loop().call_later(STALL_S, self._look)

    def _look(self) -> None:
        """Report that the oldest batch is still in flight: aiokafka retries it again and again without logging it."""
        self._looking = None
        oldest = next(iter(self._flying.values()), None)
        if oldest is not None and (waited_s := time.monotonic() - oldest.since) >= STALL_S:
            self._tell(ProduceStalled(self.tp.topic, self.tp.partition, waited_s))
        self._look_later()

    def _landed(self, future: asyncio.Future[Any]) -> None:
        waiting = self._flying.pop(future, None)
        if waiting is None:  # closed in the turn in which it landed: its callback was on its way already
            return
        try:
            placed, records = future.result(), waiting.builder.record_count()
            offset, dated_ms = placed.offset, placed.timestamp if placed.timestamp_type == LOG_APPEND_TIME else None
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - none of them means that it is durable
            fault = self._broken or self._fault(error)
            self._fail(waiting, fault)
            self._break(fault)
            return
        waiting.delivered(waiting.part, offset, records, None)
        took_s = time.monotonic() - waiting.since
        size = waiting.builder.size()
        self._tell(BatchProduced(self.tp.topic, self.tp.partition, records, size, took_s, dated_ms))

    def _fault(self, error: BaseException) -> PipelineError:
        if isinstance(error, UnknownTopicOrPartitionError | TopicAuthorizationFailedError):
            return TopicError(
                f"topic {self.tp.topic} cannot be written ({type(error).__name__}): it was deleted, or this user has "
                "no Write permission on it"
            )
        if isinstance(error, InvalidTimestampError):
            return TopicError(
                f"{self.tp.topic}/{self.tp.partition}: the broker refuses a record for its time: this machine's clock "
                "is too far from the brokers' (more than an hour by default), and the topic keeps its writers' times. "
                "Set the clock right (NTP), and the topic to message.timestamp.type=LogAppendTime (`dodo-cio topics "
                "apply`)"
            )
        return BrokenSequenceError(
            f"{self.tp.topic}/{self.tp.partition}: a batch was not acknowledged ({error!r}). Nothing more can be "
            "written there without a gap in the idempotent sequence; the producer must be replaced"
        )

    def _break(self, error: PipelineError) -> None:
        self._broken = self._broken or error
        while self._queue:
            self._fail(self._queue.popleft(), self._broken)

    @staticmethod
    def _fail(waiting: _Waiting, error: PipelineError) -> None:
        waiting.delivered(waiting.part, UNKNOWN_OFFSET, 0, error)
