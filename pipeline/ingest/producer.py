"""A producer that is replaced when it breaks.

Idempotent and `acks=all`: what it confirms is on every in-sync replica, once. The price is order: a batch that the
broker refuses for good leaves a hole in its partition's sequence, and every later batch of the same producer is then
refused as out of order while the client looks healthy (KIP-98, "Failure semantics"). So a failed batch ends the
producer's life: requests are answered 503 until another one, with a new id, has taken its place. The attempts to get
one end only with success, whatever hinders them; `liveness` decides when they have gone on for too long.

It stays one module since it is one state machine: each method reads or changes which producer is in use, which records
wait for it, and what `/ready` reports.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    ProducerClosed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pipeline import logs
from pipeline.incidents import Incident, insist
from pipeline.ingest.events import Observer, ProducerReplaced, RecordsStored
from pipeline.ingest.liveness import Came, Standing, attempted, cause_of, live
from pipeline.ingest.records import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES
from pipeline.ingest.store import STORE_WITHIN_S, NotStored, Stored, Told
from pipeline.kafka.closing import close_producer
from pipeline.kafka.lifelines import watch_producer
from pipeline.kafka.producer.appending import Appender
from pipeline.kafka.reach import explaining
from pipeline.kafka.reconnect import steady
from pipeline.kafka.records import LOG_APPEND_TIME, OutRecord
from pipeline.kafka.security import client_options
from pipeline.observers import tell
from pipeline.settings import Settings
from pipeline.tasks import BackgroundTask, OnEnd, Tasks
from pipeline.watch.vitals import Verdict

log = logs.get(__name__)

MAX_RECORD_BYTES: Final = MAX_BODY_BYTES + MAX_ENVELOPE_BYTES
"""Largest record that is ever produced."""

BATCH_BYTES: Final = 256 * 2**10
"""About a hundred webhooks a batch. One batch a partition is in flight and one is filled: with twelve partitions this
bounds the client's memory to 6 MB, and with aiokafka's own 16 kB six webhooks would wait for each round trip."""

REQUEST_TIMEOUT_MS: Final = 10_000
"""How long a request may hang before it is sent again on a new connection: after a broker froze or vanished without a
word, the first confirmation comes at most this long after it is back."""

START_WITHIN_S: Final = 15.0
CLOSE_WITHIN_S: Final = 2.0
"""Requests in flight got their answers before; what is still unconfirmed was answered 503."""

BEAT_S: Final = 2.0
"""How often an idle producer asks whether the broker is there, so that `/ready` shows an outage without traffic, and
its end although a load balancer sends none."""

BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to start another producer; the last repeats."""

BEAT: Final = BackgroundTask("ingest beat", OnEnd.RESTART)
REPLACING: Final = BackgroundTask("producer replacement", OnEnd.RESTART, returns=True)
CLOSING: Final = BackgroundTask("producer closing", OnEnd.TELL, returns=True)

UNSENT: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
"""Raised before a record got a place in the sequence: nothing is broken, and it may work a moment later."""


TICK_S: Final = 0.002
"""A timer of uvloop may ring so much too early."""


def _nobody(answer: Stored | NotStored) -> None:
    """Stands in place of a callback that was called already."""


class _Waiting:
    """A record that is not confirmed yet."""

    __slots__ = ("began", "ended", "told", "topic")

    def __init__(self, topic: str, began: float, told: Told) -> None:
        self.topic = topic
        self.began = began
        self.told = told
        self.ended = False


class DurableProducer:
    """The process's way into Kafka: a `Store`, and what `/ready` asks.

    Args:
        settings: of this process.
        observers: see ingest's events.
        clock: monotonic seconds, for `/live`.
        within_s: a record that is not confirmed by then is answered `NotStored`. It may still be stored: a record in a
            batch cannot be taken back.
    """

    def __init__(
        self,
        settings: Settings,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
        within_s: float = STORE_WITHIN_S,
    ) -> None:
        self._settings = settings
        self._observers = observers
        self._producer: AIOKafkaProducer | None = None
        self._trouble: str | None = "start-up checks have not passed yet"
        self._confirmed_at = 0.0
        self._standing = Standing(at=clock())
        self._clock = clock
        self._tasks = Tasks(observers=observers)
        self._lifelines = Tasks(observers=observers)
        self._appender: Appender[_Waiting] | None = None
        self._within_s = within_s
        self._waiting: dict[_Waiting, None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored now; None when it can."""
        return self._trouble

    def live(self) -> Verdict:
        """Whether the process is worth keeping."""
        return live(self._standing)

    async def start(self) -> None:
        """Connect; returns when records can be stored.

        Raises:
            BrokerUnreachableError: no broker answered, or the credentials were refused.
        """
        self._use(await self._connect())
        self._trouble = None
        self._tasks.start(BEAT, self._beat)

    async def stop(self) -> None:
        """Flush, and close; what Kafka does not confirm within `CLOSE_WITHIN_S` is given up."""
        self._stopping = True
        self._trouble = "stopping"
        await self._tasks.stop()
        producer = self._let_go()
        if producer is not None:
            await close_producer(producer, CLOSE_WITHIN_S)
        if self._timer is not None:
            self._timer.cancel()
        for waiting in list(self._waiting):
            self._end(waiting, NotStored("stopping"))

    def put(self, topic: str, record: OutRecord, told: Told) -> None:
        """Append `record` to `topic` in the partition of its key (Java's murmur2)."""
        producer, appender = self._producer, self._appender
        if producer is None or appender is None:
            told(NotStored(self._trouble or "no producer"))
            return
        waiting = _Waiting(topic, time.monotonic(), told)
        try:
            appender.put(topic, record, waiting)
        except KafkaError as error:
            self._unplaced(producer, [waiting], error)
            return
        self._waiting[waiting] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._within_s, self._look)

    def _landed(
        self, producer: AIOKafkaProducer, waiters: Sequence[_Waiting], placed: Any, error: BaseException | None
    ) -> None:
        """What came of a batch."""
        if error is not None:
            self._came_of(error)
            self._break(producer, error)
            for waiting in waiters:
                self._end(waiting, NotStored(type(error).__name__))
            return
        if placed is None:  # a batch that stayed empty
            return
        self._standing = attempted(self._standing, Came.STORED, self._clock())
        self._trouble = None if self._producer is producer else self._trouble
        self._confirmed_at = now = time.monotonic()
        dated_ms = placed.timestamp if placed.timestamp_type == LOG_APPEND_TIME else None
        tell(self._observers, RecordsStored(placed.topic, tuple(now - one.began for one in waiters), dated_ms))
        for waiting in waiters:
            self._end(waiting, Stored(now - waiting.began))

    def _unplaced(self, producer: AIOKafkaProducer, waiters: Sequence[_Waiting], error: BaseException) -> None:
        """These records are in no batch, and will be in none."""
        if isinstance(error, ProducerClosed):
            answer = NotStored("the producer is being replaced")
        else:
            self._came_of(error)
            answer = self._not_stored(type(error).__name__)
            if not isinstance(error, UNSENT):  # its sender task ended, and nothing will ever leave it again
                self._break(producer, error)
        for waiting in waiters:
            self._end(waiting, answer)

    def _end(self, waiting: _Waiting, answer: Stored | NotStored) -> None:
        if not waiting.ended:
            waiting.ended = True
            self._waiting.pop(waiting, None)
            told, waiting.told = waiting.told, _nobody  # a batch may wait for hours: the request must not
            try:
                told(answer)
            except Exception:
                log.exception("an answer failed")  # those behind it are answered all the same

    def _look(self) -> None:
        """The one timer of all records that wait: the oldest has waited for long enough, if it still does."""
        self._timer = None
        until = time.monotonic() - self._within_s + TICK_S
        late = list(itertools.takewhile(lambda one: one.began <= until, self._waiting))
        if late:
            self._came_of(TimeoutError())
            answer = self._not_stored(f"no confirmation within {self._within_s:.0f} s")
            for waiting in late:
                self._end(waiting, answer)
        oldest = next(iter(self._waiting), None)
        if oldest is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(oldest.began - until, self._look)

    def _not_stored(self, reason: str) -> NotStored:
        if not self._stopping:
            self._trouble = f"Kafka does not confirm: {reason}"
        return NotStored(reason)

    def _came_of(self, error: BaseException) -> None:
        self._standing = attempted(self._standing, cause_of(error), self._clock(), f"{type(error).__name__}: {error}")

    def _use(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._appender = Appender(
            producer, partial(self._landed, producer), partial(self._unplaced, producer), self._tasks
        )
        self._lifelines = Tasks(observers=self._observers)
        watch_producer(self._lifelines, producer, partial(self._break, producer))

    def _break(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        if self._producer is not producer or self._stopping:
            return
        self._let_go()
        self._trouble = f"the producer is being replaced after {type(error).__name__}"
        log.warning("producer broken, replacing it", error=type(error).__name__, detail=str(error))
        self._tasks.start(CLOSING, partial(close_producer, producer, CLOSE_WITHIN_S))
        self._tasks.start(REPLACING, partial(self._replace, type(error).__name__))

    def _let_go(self) -> AIOKafkaProducer | None:
        """Nothing more goes into the producer; what has a place in it may still become durable."""
        producer, appender = self._producer, self._appender
        self._producer = self._appender = None
        self._lifelines.let_end()
        for waiting in appender.close() if appender is not None else ():
            self._end(waiting, NotStored("the producer is being replaced"))
        return producer

    async def _replace(self, reason: str) -> None:
        """Get another producer; returns with success alone."""
        began = time.monotonic()

        async def use_another() -> None:
            if self._producer is None:
                self._use(await self._connect())

        def failed(error: Exception) -> None:
            self._came_of(error)
            self._trouble = f"there is no producer: {error}"

        await insist(use_another, Incident(log, "no new producer yet", "a new producer was found"), BACKOFF_S, failed)
        self._trouble = None
        self._standing = attempted(self._standing, Came.STORED, self._clock())
        event = ProducerReplaced(reason, time.monotonic() - began)
        log.info("producer replaced", seconds=round(event.seconds, 3))
        tell(self._observers, event)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        steady(producer.client)
        # aiokafka drops a batch whose partition has no leader for the request time-out, and with it the sequence.
        producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001 - there is no setting for it
        try:
            with explaining(self._settings):
                async with asyncio.timeout(START_WITHIN_S):
                    await producer.start()
        except BaseException:
            await close_producer(producer, CLOSE_WITHIN_S)
            raise
        return producer

    async def _beat(self) -> None:
        """Keep `trouble` true while there is no traffic to learn from."""
        while True:
            await asyncio.sleep(BEAT_S)
            producer = self._producer
            if producer is None or time.monotonic() - self._confirmed_at < BEAT_S:
                continue
            answered = await _answers(producer)
            if self._producer is producer:
                self._trouble = None if answered else "no broker answers"
                came = Came.STORED if answered else Came.KAFKA_REFUSED
                self._standing = attempted(self._standing, came, self._clock())


async def _answers(producer: AIOKafkaProducer) -> bool:
    """Whether a broker answers where the topics are."""
    try:
        async with asyncio.timeout(BEAT_S):
            return bool(await producer.client.force_metadata_update())
    except (KafkaError, OSError):
        return False
