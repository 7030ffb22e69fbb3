"""The flow through the transform: chunks of webhooks in, chunks of operations out, acknowledged in order.

While one chunk's records are on their way to the brokers the next is already mapped, within a bound of bytes and
chunks. A chunk is acknowledged when everything that it caused is durable, and never before the chunk ahead of it in its
partition. A send that fails is not skipped: the flow ends for good, the worker crashes and Kafka redelivers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from faust.types import TP

from pipeline.errors import DeliveryError
from pipeline.kafka.batches import RecordBatch
from pipeline.kafka.records import OutRecord, Record
from pipeline.transform.decision import Decision
from pipeline.transform.records import dead_letter_record, operation_records
from pipeline.transform.tally import ChunkTransformed, Tally
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations

MAX_CHUNKS: Final = 8
"""Chunks on their way at once: enough to hide a round trip to the brokers behind the mapping of the chunks after it."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of webhooks on their way at once; a larger chunk goes alone. Bounds memory while the brokers stall."""

SLICE_S: Final = 0.02
"""Longest piece of mapping without a turn of the event loop, on which probes, sends and rebalances run too."""


class Outgoing(Protocol):
    """Records that go out together (`kafka.producer.OutgoingChunk`)."""

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Add one record behind the others of its partition."""

    def send(self) -> Awaitable[None]:
        """Hand them over in the order of calls; done when every one is durable."""


class Producer(Protocol):
    """Where records go (`kafka.producer.BatchProducer`)."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """The partition that Java's default partitioner gives to `key`; keyless records take turns."""

    def chunk(self) -> Outgoing:
        """A new, empty chunk."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A chunk on its way, in the queue of its partition."""

    batch: RecordBatch
    size: int
    tally: Tally
    queue: deque[_Flight]
    mapping_s: float
    sent_at: float
    durable: bool = False


class Flow:
    """Takes chunks one at a time, in the order of delivery.

    Args:
        decide: what becomes of one record; never raises for what the record holds.
        producer: where the outcome goes.
        operations_topic: name of the operations' topic.
        dead_letters_topic: name of the dead letters' topic.
        observe: told of each chunk once it is durable.
        fail: told once of the error that ended the flow; must end the worker.
        clock: unix seconds.
    """

    def __init__(
        self,
        decide: Callable[[Record], Decision],
        producer: Producer,
        *,
        operations_topic: str,
        dead_letters_topic: str,
        observe: Callable[[ChunkTransformed], None],
        fail: Callable[[BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decide = decide
        self._producer = producer
        self._operations_topic = operations_topic
        self._dead_letters_topic = dead_letters_topic
        self._observe = observe
        self._fail = fail
        self._clock = clock
        self._open = False  # until the first assignment
        self._error: BaseException | None = None
        self._generation = -1
        self._queues: dict[TP, deque[_Flight]] = {}
        self._sends: set[asyncio.Future[None]] = set()
        self._bytes = 0
        self._changed = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Chunks that are on their way."""
        return len(self._sends)

    # Hand-over of partitions, as the transport asks for it.

    def begin(self) -> None:
        """Send nothing more of what was delivered so far; a chunk in the making is dropped, its owner maps it again."""
        self._open = False
        self._changed.set()

    async def drained(self) -> None:
        """Return when nothing is on its way."""
        await self._until(lambda: not self._sends)

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:  # noqa: ARG002 - the chunks name their partition
        """Take chunks of this generation; what an earlier one left behind is not acknowledged any more."""
        self._generation = generation
        self._queues.clear()
        self._open = self._error is None

    # Chunks.

    async def take(self, batch: RecordBatch) -> None:
        """Map `batch` and start sending what it becomes; returns as soon as the next chunk may be mapped.

        Raises:
            DeliveryError: an earlier send failed. Nothing of `batch` was sent.
        """
        size = sum(len(record.value or b"") for record in batch)
        await self._until(lambda: self._has_room(size) or not self._open)
        if self._error is not None:
            raise self._error
        started = time.perf_counter()
        tally = Tally()
        outgoing = await self._map(batch, tally)
        if outgoing is None:
            return
        queue = self._queues.setdefault(batch.tp, deque())
        now = time.perf_counter()
        flight = _Flight(batch, size, tally, queue, mapping_s=now - started, sent_at=now)
        queue.append(flight)
        self._bytes += size
        sending = asyncio.ensure_future(outgoing.send())
        self._sends.add(sending)
        sending.add_done_callback(lambda done: self._landed(flight, done))

    async def _map(self, batch: RecordBatch, tally: Tally) -> Outgoing | None:
        """The chunk's outcome; None when its partition is about to go or has gone to another worker meanwhile."""
        outgoing = self._producer.chunk()
        slice_ends = time.perf_counter() + SLICE_S
        for record in batch:
            if time.perf_counter() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = time.perf_counter() + SLICE_S
            if not self._takes(batch):
                return None
            decision = self._decide(record)
            tally.add(decision)
            self._append(outgoing, record, decision)
        return outgoing if self._takes(batch) else None

    def _append(self, outgoing: Outgoing, record: Record, decision: Decision) -> None:
        match decision.verdict:
            case Operations() as operations:
                topic = self._operations_topic
                partition = self._producer.partition_for(topic, operations.person_key)
                for out in operation_records(record, decision, operations):
                    outgoing.append(topic, partition, out)
            case DeadLettered() as verdict:
                topic = self._dead_letters_topic
                letter = dead_letter_record(record, verdict, int(self._clock() * 1000))
                outgoing.append(topic, self._producer.partition_for(topic, letter.key), letter)
            case Dropped():
                pass

    def _takes(self, batch: RecordBatch) -> bool:
        return self._open and batch.generation == self._generation

    def _has_room(self, size: int) -> bool:
        return not self._sends or (len(self._sends) < MAX_CHUNKS and self._bytes + size <= MAX_BYTES)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # Completions: in any order; acknowledgements: in the partition's.

    def _landed(self, flight: _Flight, done: asyncio.Future[None]) -> None:
        self._sends.discard(done)
        self._bytes -= flight.size
        error = DeliveryError("a send was cancelled") if done.cancelled() else done.exception()
        if error is None:
            flight.durable = True
            self._observe(_told(flight))
            _acknowledge(flight.queue)
        elif self._error is None:
            self._error = error
            self._open = False
            self._fail(error)
        self._changed.set()


def _acknowledge(queue: deque[_Flight]) -> None:
    while queue and queue[0].durable:
        queue.popleft().batch.done()


def _told(flight: _Flight) -> ChunkTransformed:
    batch, tally = flight.batch, flight.tally
    return ChunkTransformed(
        topic=batch.topic,
        partition=batch.partition,
        first_offset=batch.first_offset,
        last_offset=batch.last_offset,
        records=len(batch),
        bytes=flight.size,
        webhooks=tally.webhooks,
        operations=tally.operations,
        notes=tally.notes,
        mapping_s=flight.mapping_s,
        produce_s=time.perf_counter() - flight.sent_at,
    )
