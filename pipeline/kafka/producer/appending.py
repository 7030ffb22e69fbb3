"""Records that come one at a time, appended to the batch that aiokafka sends next; whoever waits hears of a batch.

`AIOKafkaProducer.send` makes a future and a coroutine for each record, and whoever bounds its wait a timer and two more
callbacks. Here a record goes where `send` would put it, and one callback a batch reports the result of all records in
it. What `send` promises stays: a partition's records keep their order, a batch is never larger than the producer's, and
a record for which there is no room waits outside of it, where whoever waits can still give it up.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import OutRecord
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

LEARNING: Final = BackgroundTask("topic partitions", OnEnd.TELL, returns=True)


class Waiter(Protocol):
    """Whoever waits for a record; when `ended`, it waits no more, and a record that has no place yet gets none."""

    ended: bool


W = TypeVar("W", bound=Waiter)

Landed = Callable[[Sequence[W], Any, BaseException | None], None]
"""Those whose records were in a batch, in their order, and the batch's metadata, or why it is not known to be durable:
then the partition's sequence is broken."""

Unplaced = Callable[[Sequence[W], BaseException], None]
"""Those whose records got no place in any batch, and why; nothing is broken by it."""


class Appender(Generic[W]):
    """The way into one producer.

    Args:
        producer: idempotent, started.
        landed: called once a batch, from the event loop.
        unplaced: called for waiters whose records waited for a place in vain.
        tasks: of the producer's owner.
    """

    def __init__(self, producer: AIOKafkaProducer, landed: Landed[W], unplaced: Unplaced[W], tasks: Tasks) -> None:
        self._producer = producer
        self._accumulator = producer._message_accumulator  # noqa: SLF001 - `send` without its future a record
        self._largest: int = producer._max_request_size  # noqa: SLF001
        self._landed = landed
        self._unplaced = unplaced
        self._tasks = tasks
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._open: dict[TopicPartition, tuple[Any, list[W]]] = {}
        self._behind: dict[TopicPartition, deque[tuple[OutRecord, W]]] = {}
        self._nowhere: dict[str, deque[tuple[OutRecord, W]]] = {}
        self._closed = False
        producer.client.cluster.add_listener(self._count)

    def put(self, topic: str, record: OutRecord, waiter: W) -> None:
        """Append `record` in the partition of its key (Java's murmur2).

        Raises:
            KafkaError: nothing is sent by this producer any more, or the record is too large.
        """
        value = record.value
        if value is not None and 2 * len(value) > self._largest:  # else its key and headers, 40 kB at most, fit too
            self._check_size(record)
        partitions = self._partitions.get(topic)
        if partitions is None:
            self._learn(topic, record, waiter)
        else:
            self._place(partitions[partition_of(record.key or b"", len(partitions))], record, waiter)

    def close(self) -> list[W]:
        """Take nothing more; those whose records had no place yet, and get none."""
        self._closed = True
        left = [waiter for queue in (*self._behind.values(), *self._nowhere.values()) for _, waiter in queue]
        self._behind.clear()
        self._nowhere.clear()
        return left

    def _check_size(self, record: OutRecord) -> None:
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, list(record.headers))
        if size > self._largest:
            raise MessageSizeTooLargeError(f"a record of {size} bytes is larger than {self._largest}")

    def _place(self, tp: TopicPartition, record: OutRecord, waiter: W) -> None:
        behind = self._behind.get(tp)
        if behind is not None:
            self._queue(behind, record, waiter)
        elif not self._append(tp, record, waiter):
            self._behind[tp] = deque([(record, waiter)])

    @staticmethod
    def _queue(queue: deque[tuple[OutRecord, W]], record: OutRecord, waiter: W) -> None:
        """Behind the others, but for those who gave up: an outage of hours must not keep what came in it."""
        while queue and queue[0][1].ended:
            queue.popleft()
        queue.append((record, waiter))

    def _append(self, tp: TopicPartition, record: OutRecord, waiter: W) -> bool:
        """Whether there was room; without it, `_refill` is called when there is some."""
        accumulator = self._accumulator
        if accumulator._closed or self._closed:  # noqa: SLF001
            raise ProducerClosed
        if accumulator._exception is not None:  # noqa: SLF001
            raise copy.copy(accumulator._exception)  # noqa: SLF001
        pending = accumulator._batches.get(tp)  # noqa: SLF001
        batch = pending[-1] if pending else self._begin(tp)
        placed = batch._builder.append(  # noqa: SLF001
            timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=[*record.headers]
        )
        if placed is None:  # full, or on its way for a second time
            batch._drain_waiter.add_done_callback(partial(self._refill, tp))  # noqa: SLF001
            return False
        opened, waiters = self._open[tp]
        assert opened is batch  # noqa: S101 - nobody else writes with this producer
        waiters.append(waiter)
        return True

    def _begin(self, tp: TopicPartition) -> Any:
        batch = self._accumulator._append_batch(self._producer.create_batch(), tp)  # noqa: SLF001
        waiters: list[W] = []
        self._open[tp] = batch, waiters
        batch.future.add_done_callback(partial(self._done, waiters))
        return batch

    def _done(self, waiters: list[W], future: asyncio.Future[Any]) -> None:
        error = ProducerClosed() if future.cancelled() else future.exception()
        self._landed(waiters, None if error else future.result(), error)

    def _refill(self, tp: TopicPartition, drained: asyncio.Future[Any]) -> None:
        """The batch that was full has left, or failed."""
        if not drained.cancelled():
            drained.exception()  # raised for those who wait for the batch
        queue = self._behind.get(tp)
        while queue:
            record, waiter = queue[0]
            try:
                if not waiter.ended and not self._append(tp, record, waiter):
                    return
            except KafkaError as error:
                del self._behind[tp]
                self._unplaced([one for _, one in queue], error)
                return
            queue.popleft()
        self._behind.pop(tp, None)

    # --- partitions -----------------------------------------------------------------------------------------------

    def _learn(self, topic: str, record: OutRecord, waiter: W) -> None:
        """Nothing is known of the topic, at first or because it has gone."""
        if self._closed:
            raise ProducerClosed
        queue = self._nowhere.get(topic)
        if queue is not None:
            self._queue(queue, record, waiter)
            return
        self._nowhere[topic] = deque([(record, waiter)])
        self._tasks.start(LEARNING, partial(self._ask, topic), which=topic, failed=partial(self._unknown, topic))

    def _unknown(self, topic: str, error: BaseException) -> None:
        self._unplaced([waiter for _, waiter in self._nowhere.pop(topic, ())], error)

    async def _ask(self, topic: str) -> None:
        try:
            found = await self._producer.partitions_for(topic)
        except (KafkaError, OSError) as error:
            self._unknown(topic, error)
            return
        self._partitions[topic] = [TopicPartition(topic, number) for number in range(len(found))]
        self._placed(topic)

    def _placed(self, topic: str) -> None:
        queue = self._nowhere.pop(topic, ())
        for record, waiter in queue:
            if not waiter.ended:
                try:
                    self.put(topic, record, waiter)
                except KafkaError as error:
                    self._unplaced([waiter], error)

    def _count(self, cluster: Any) -> None:
        """Follow the metadata, as Java's producer does: keys of a topic that grew move for all producers alike."""
        for topic in list(self._partitions):
            known = cluster.partitions_for_topic(topic)
            if not known:
                del self._partitions[topic]
            elif len(known) != len(self._partitions[topic]):
                self._partitions[topic] = [TopicPartition(topic, number) for number in range(len(known))]
