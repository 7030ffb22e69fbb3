"""Chunks of records on their way out, and the outlets that write them: one for each partition, first come first served.

An outlet hands aiokafka one batch at a time. With several waiters a partition's time-out shrinks (each subtracts the
time of all), and the order of waiters is nobody's promise.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import (
    InvalidTimestampError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from faust.types import TP

from pipeline.errors import BrokenSequenceError, DeliveryError, PipelineError, RecordTooLargeError, TopicError
from pipeline.kafka.cluster.sizes import DEFAULT_MAX_MESSAGE_BYTES
from pipeline.kafka.events import BatchProduced, ProducerEvent, ProduceStalled
from pipeline.kafka.records import LOG_APPEND_TIME, OutRecord
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


class OutgoingChunk:
    """Records that go out together. Fill it, send it once, await the future.

    Args:
        create: makes an empty batch (aiokafka's `create_batch`).
        outlet: the outlet of a partition.
        limits: largest batch in bytes that each topic takes.
    """

    __slots__ = ("_create", "_done", "_limits", "_missing", "_outlet", "_parts", "records")

    def __init__(
        self, create: Callable[[], Any], outlet: Callable[[str, int], Outlet], limits: Mapping[str, int]
    ) -> None:
        self._create = create
        self._outlet = outlet
        self._limits = limits
        self._parts: dict[tuple[str, int], Part] = {}
        self._done: asyncio.Future[None] | None = None
        self._missing = 0
        self.records = 0

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Add one record behind the others of its partition.

        Raises:
            RecordTooLargeError: the topic cannot hold it; the chunk is as it was.
        """
        part = self._parts.get((topic, partition))
        key, value, headers, timestamp_ms = record
        listed = [*headers]
        if part is not None:
            added = part.builders[-1].append(timestamp=timestamp_ms, key=key, value=value, headers=listed)
            if added is not None:
                self.records += 1
                return
        # A batch takes its first record whatever its size, and every later one only if it fits: so the first is the
        # only one that can be too large, and to look at it is enough.
        builder = self._create()
        builder.append(timestamp=timestamp_ms, key=key, value=value, headers=listed)
        limit = self._limits.get(topic, DEFAULT_MAX_MESSAGE_BYTES)
        if builder.size() > limit:
            raise RecordTooLargeError(
                f"a record of {builder.size()} bytes with its key and headers is too large for topic {topic}, which "
                f"takes {limit} (max.message.bytes)"
            )
        if part is None:
            self._parts[topic, partition] = Part(TP(topic, partition), [builder])
        else:
            part.builders.append(builder)
        self.records += 1

    def extend(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes, bytes | None]],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Add many keys and values with the same headers, in order.

        Raises:
            RecordTooLargeError: the topic cannot hold one; those before it were added.
        """
        shared, part = [*headers], self._parts.get((topic, partition))
        append = part.builders[-1].append if part is not None else None
        for key, value in records:
            if append is not None and append(timestamp=None, key=key, value=value, headers=shared) is not None:
                self.records += 1
                continue
            self.append(topic, partition, OutRecord(key, value, tuple(headers)))  # begins a batch
            append = self._parts[topic, partition].builders[-1].append

    def send(self) -> asyncio.Future[None]:
        """Queue everything now, behind what was sent before; the future is done when every record is durable.

        It fails with a `DeliveryError` or `TopicError` as soon as one batch failed. Nothing of the chunk may be
        acknowledged then, and sends to that partition will go on failing.
        """
        if self._done is not None:
            raise DeliveryError("a chunk is sent once")
        self._done = asyncio.get_running_loop().create_future()
        self._missing = sum(len(part.builders) for part in self._parts.values())
        if not self._missing:
            self._done.set_result(None)
        for (topic, partition), part in self._parts.items():
            outlet = self._outlet(topic, partition)
            for builder in part.builders:
                outlet.put(builder, self._delivered, part)
        return self._done

    def base_offset(self, topic: str, partition: int) -> int:
        """Offset of the chunk's first record in the partition, once durable; -1 when the broker did not return it."""
        return self._parts[topic, partition].base_offset

    def offsets(self, topic: str, partition: int) -> range | None:
        """Where the chunk's records lie in the partition, once durable.

        None when the broker did not return them, or when somebody else's records lie between them.
        """
        part = self._parts[topic, partition]
        return range(part.base_offset, part.next_offset) if part.gapless else None

    def _delivered(self, part: Part, offset: int, records: int, error: BaseException | None) -> None:
        done = self._done
        if done is None or done.done():
            return
        if error is not None:
            done.set_exception(error)
            return
        if part.base_offset == UNKNOWN_OFFSET:
            part.base_offset = part.next_offset = offset
        part.gapless &= offset == part.next_offset != UNKNOWN_OFFSET
        part.next_offset = offset + records
        self._missing -= 1
        if not self._missing:
            done.set_result(None)


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
