"""Sending without repeats and in order: an idempotent producer that takes whole batches, one a partition at a time."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from faust.types import TP

from pipeline import logs
from pipeline.errors import BrokenSequenceError, BrokerUnreachableError, DeliveryError, TopicError
from pipeline.incidents import Incident, insist
from pipeline.kafka.cluster.sizes import BATCH_BYTES, max_message_bytes
from pipeline.kafka.events import ProducerEvent
from pipeline.kafka.lifelines import watch_producer
from pipeline.kafka.producer.outgoing import OutgoingChunk
from pipeline.kafka.producer.outlet import Outlet
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.producer.stalls import Stalls
from pipeline.kafka.producer.write_gate import WriteGate
from pipeline.kafka.reach import explaining
from pipeline.kafka.reconnect import steady
from pipeline.kafka.records import OutRecord
from pipeline.kafka.security import client_options
from pipeline.observers import tell
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

REQUEST_TIMEOUT_MS: Final = 30_000
"""A half-open connection is noticed after this time. It is no limit for a record: those are retried for ever."""

STOP_S: Final = 5.0
"""For batches in flight at stop; aiokafka itself would wait for as long as the broker is away."""

RETRY_S: Final = 1.0
"""Between attempts to start another producer."""

CLOSING: Final = BackgroundTask("abandoned producer", OnEnd.TELL, returns=True)

log = logs.get(__name__)


class BatchProducer:
    """An idempotent producer (acks=all) for records that leave in chunks.

    Within one output partition everything is written in the order of the calls to `send`, once, through time-outs and
    broker restarts for as long as they take. When a batch is lost all the same, its partition's sequence is broken:
    every later send to it fails at once with `BrokenSequenceError`, and only a new producer helps.

    Used from one event loop.

    Args:
        settings: of the process.
        observers: called with what is produced, and with what stalls.
        may_write: whether records may leave this process now; they wait while they may not.
    """

    def __init__(
        self,
        settings: Settings,
        observers: Sequence[Callable[[ProducerEvent], None]] = (),
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._observers: list[Callable[[ProducerEvent], None]] = [Stalls(), *observers]
        self._may_write = may_write
        self._producer: AIOKafkaProducer | None = None
        self._gate: WriteGate | None = None
        self._partitions: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._outlets: dict[TP, Outlet] = {}
        self._next_keyless = itertools.count()
        self._writers = Tasks(observers=self._observers)
        self._lifelines = Tasks(observers=self._observers)
        self._closing = Tasks(observers=self._observers)

    async def start(self) -> None:
        """Connect and get a producer id.

        Raises:
            BrokerUnreachableError: no broker answered, or it refused the credentials.
        """
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        steady(producer.client)
        gate = WriteGate(producer, self._may_write)
        # An idempotent batch never expires, but for one path: aiokafka drops it when its partition has no leader for
        # the request time-out, and with it the partition's sequence. Waiting is what we want.
        producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001 - there is no setting for it
        try:
            with explaining(self._settings):
                await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise BrokerUnreachableError(
                f"the brokers at {self._settings.kafka_bootstrap_servers} refused an idempotent producer ({error!r}): "
                "this user needs Write on the topics, or IdempotentWrite on the cluster"
            ) from None
        except BaseException:
            await producer.stop()
            raise
        self._producer, self._gate = producer, gate
        watch_producer(self._lifelines, producer, self._lifeline_ended)
        producer.client.cluster.add_listener(self._count_partitions)

    async def stop(self) -> None:
        """Deliver what is in flight within a few seconds, then close; what is left fails with `DeliveryError`."""
        producer, gate = self._let_go()
        if producer is not None and gate is not None:
            closing = asyncio.ensure_future(self._close(producer))
            await asyncio.wait({closing}, timeout=STOP_S)
            if not closing.done():
                log.warning("Batches in flight at stop were not acknowledged; their records are redelivered")
                closing.cancel()
                self._closing.start(CLOSING, gate.close)
        await asyncio.wait({asyncio.ensure_future(self._closing.ended(CLOSING))}, timeout=STOP_S)
        await self._closing.stop()
        for outlet in self._outlets.values():
            outlet.close()

    def abandon(self) -> None:
        """Give up what is not known to be durable: it fails, and none of it leaves this process any more.

        What already left may still be stored. Nothing can be sent before `renew`.
        """
        producer, gate = self._let_go()
        if producer is None or gate is None:
            return
        gate.cut()
        self._closing.start(CLOSING, gate.close)
        outlets, self._outlets = self._outlets, {}
        for tp, outlet in outlets.items():
            outlet.close(DeliveryError(f"{tp.topic}/{tp.partition}: the batch was given up with its partitions"))

    async def renew(self) -> None:
        """After `abandon`, a producer again; returns with success alone, whatever hinders it meanwhile."""
        if self._producer is None:
            await insist(self.start, Incident(log, "No new producer yet", "A new producer was found"), (RETRY_S,))

    def _let_go(self) -> tuple[AIOKafkaProducer | None, WriteGate | None]:
        producer, gate = self._producer, self._gate
        self._producer = self._gate = None
        if producer is not None:
            self._lifelines.let_end()
        return producer, gate

    async def _close(self, producer: AIOKafkaProducer) -> None:
        await asyncio.gather(*(outlet.drained() for outlet in self._outlets.values()))
        await producer.stop()

    async def prime(self, *topics: str) -> None:
        """Learn the topics' partitions and limits ahead of the first record.

        Raises:
            TopicError: a topic does not exist or may not be read about.
        """
        producer = self._started()
        for topic in topics:
            try:
                self._partitions[topic] = len(await producer.partitions_for(topic))
            except (UnknownTopicOrPartitionError, TopicAuthorizationFailedError):
                raise TopicError(
                    f"topic {topic} does not exist or this user may not describe it: dodo-cio topics apply"
                ) from None
        self._limits |= await max_message_bytes(self._settings, topics)

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """The partition of `key` in a primed topic, as in Java's default partitioner; keyless records take turns."""
        partitions = self._partitions.get(topic)
        if partitions is None:
            raise DeliveryError(f"topic {topic} was not primed: its partitions are unknown")
        return partition_of(key, partitions) if key is not None else next(self._next_keyless) % partitions

    def chunk(self) -> OutgoingChunk:
        """A new, empty chunk."""
        return OutgoingChunk(self._started().create_batch, self._outlet, self._limits)

    async def send(self, topic: str, record: OutRecord, *, partition: int | None = None) -> tuple[int, int]:
        """Send one record to a primed topic, behind everything sent before; its partition and offset when durable.

        The offset is -1 when the broker had the record already and no longer knows where.

        Raises:
            RecordTooLargeError: the topic cannot hold it; nothing was sent.
            DeliveryError: it is not known to be durable.
        """
        if partition is None:
            partition = self.partition_for(topic, record.key)
        chunk = self.chunk()
        chunk.append(topic, partition, record)
        await chunk.send()
        return partition, chunk.base_offset(topic, partition)

    def _count_partitions(self, cluster: object) -> None:
        """Follow the metadata, as Java's producer does: keys of a topic that grew move for all producers alike."""
        for topic in self._partitions:
            known = cluster.partitions_for_topic(topic)  # type: ignore[attr-defined]
            if known:
                self._partitions[topic] = len(known)

    def _outlet(self, topic: str, partition: int) -> Outlet:
        tp = TP(topic, partition)
        outlet = self._outlets.get(tp)
        if outlet is None:
            outlet = self._outlets[tp] = Outlet(tp, self._started().send_batch, self._tell, self._writers)
        return outlet

    def _tell(self, event: ProducerEvent) -> None:
        tell(self._observers, event)

    def _lifeline_ended(self, error: BaseException) -> None:
        """Fail all waiting and all later sends: nothing will leave this producer any more."""
        for tp, outlet in self._outlets.items():
            outlet.close(BrokenSequenceError(f"{tp.topic}/{tp.partition}: the producer is dead ({error!r})"))

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise DeliveryError("the producer is not started, or stopped")
        return self._producer
