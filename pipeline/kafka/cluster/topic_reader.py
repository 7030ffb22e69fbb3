"""Reading a topic from outside: no group, no commit, up to the ends that it had when it was opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.kafka.closing import close
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.reach import explaining, unreachable
from pipeline.kafka.readers import log_ends, new_reader
from pipeline.kafka.records import Record
from pipeline.kafka.refusals import UNDECODABLE, undecodable
from pipeline.settings import Settings

POLL_MS: Final = 200

STALLED_S: Final = 30.0
"""A person waits: without a single record for so long, a partition has no leader or the broker is gone."""

REQUEST_TIMEOUT_MS: Final = 15_000

SKEW_MS: Final = 24 * 3_600_000
"""Between the clock of the stage that wrote `dlq-at` and the broker's, which indexes the topic: with a tolerance of
one day, `--since 2h` reads 26 hours instead of 90 days and misses nothing that a sane clock wrote."""


LATEST_MS: Final = 253_402_300_799_000
"""The end of the year 9999; a header may hold a number that Kafka's protocol cannot."""


log = logs.get(__name__)

R = TypeVar("R", bound="TopicReader")


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition, from `start` on and before `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many offsets; compaction and transactions may have left fewer records."""
        return max(0, self.end - self.start)


@asynccontextmanager
async def open_topic_reader(settings: Settings, topic: str, kind: type[R]) -> AsyncIterator[R]:
    """A connected reader of `topic`; what is written after this moment or lies behind an open transaction is not read.

    Raises:
        TopicError: the topic does not exist, or this user may not read it.
        BrokerUnreachableError: no broker answered, at the start or later.
    """
    count = (await check_topics(settings, [topic]))[topic]
    partitions = [TopicPartition(topic, number) for number in range(count)]
    consumer = new_reader(settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with explaining(settings):
            await consumer.start()
        with _asking(settings, topic):
            starts = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            behind = {
                tp: end - ends[tp] for tp, end in (await log_ends(consumer, partitions)).items() if end > ends[tp]
            }
        for tp, count in behind.items():
            log.warning(
                "What lies behind an open transaction cannot be read before that ends, and is left out "
                "(one that hangs: kafka-transactions.sh find-hanging)",
                topic=tp.topic, partition=tp.partition, open_since_offset=ends[tp], offsets=count,
            )  # fmt: skip
        spans = {tp.partition: Span(starts[tp], ends[tp]) for tp in partitions}
        consumer.assign(partitions)
        consumer.pause(*partitions)
        yield kind(settings, consumer, topic, spans)
    finally:
        await close(consumer)


class TopicReader:
    """Reads the topic as often as one likes over the same connection; made by `open_topic_reader`.

    Attributes:
        spans: by partition, what the topic held when it was opened.
    """

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer, topic: str, spans: Mapping[int, Span]) -> None:
        self._settings = settings
        self._consumer = consumer
        self._topic = topic
        self.spans = spans

    async def since(self, at_ms: int | None, skew_ms: int = SKEW_MS) -> dict[int, Span]:
        """The part of `spans` in which what was written at `at_ms` (unix ms) or later can lie; all of it for None.

        `skew_ms` is how far the clock of `at_ms` may be ahead of the one that dates records.
        """
        if at_ms is None:
            return dict(self.spans)
        times = dict.fromkeys(map(self._tp, self.spans), min(max(0, at_ms - skew_ms), LATEST_MS))
        with _asking(self._settings, self._topic):
            found = await self._consumer.offsets_for_times(times)
        spans = {}
        for partition, span in self.spans.items():
            first = found.get(self._tp(partition))
            spans[partition] = Span(max(span.start, first.offset) if first else span.end, span.end)
        return spans

    async def records(self, spans: Mapping[int, Span]) -> AsyncGenerator[Record, None]:
        """Every record of `spans`, in order within each partition.

        Raises:
            TopicError: this user may not read the topic.
            BrokerUnreachableError: the broker is gone, or gives nothing for `STALLED_S`.
        """
        waiting = {self._tp(partition): span.end for partition, span in spans.items() if span.length}
        for partition, span in spans.items():
            if span.length:
                self._consumer.seek(self._tp(partition), span.start)
        self._consumer.resume(*waiting)
        clock = asyncio.get_running_loop().time
        heard_s = clock()
        try:
            while waiting:
                with _asking(self._settings, self._topic):
                    batches = await self._consumer.getmany(*waiting, timeout_ms=POLL_MS)
                for tp, records in batches.items():
                    for record in records:
                        if record.offset < waiting[tp]:
                            yield record
                reached = [tp for tp, end in waiting.items() if await self._position(tp) >= end]
                for tp in reached:
                    del waiting[tp]
                self._consumer.pause(*reached)
                if batches or reached:
                    heard_s = clock()
                elif clock() - heard_s > STALLED_S:
                    self._stalled(waiting)
        finally:
            self._consumer.pause(*waiting)

    async def _position(self, tp: TopicPartition) -> int:
        with _asking(self._settings, self._topic):
            position: int = await self._consumer.position(tp)
        return position

    def _stalled(self, waiting: Mapping[TopicPartition, int]) -> None:
        names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in waiting)
        raise unreachable(self._settings, [f"{names} gave no record for {STALLED_S:.0f} s: has it a leader?"])

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


@contextmanager
def _asking(settings: Settings, topic: str) -> Iterator[None]:
    try:
        yield
    except TopicAuthorizationFailedError:
        raise TopicError(f"topic {topic}: this user may not read it; it needs the ACL READ on the topic") from None
    except UNDECODABLE as error:
        raise undecodable(topic, error) from None
    except (KafkaError, OSError) as error:
        raise unreachable(settings, [str(error) or type(error).__name__]) from None
