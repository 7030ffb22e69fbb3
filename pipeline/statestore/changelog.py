"""The changelog topic, read from an offset to the end that it has now, several partitions at once.

Offsets may be missing anywhere (compaction, transaction markers), at the end too. No group, no commits.

A batch that cannot be decoded ends the reading: without its records the state would be wrong. So does a transaction
of somebody else hold it up for as long as it is open, since records of ours may lie behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from pipeline import logs
from pipeline.errors import TopicError
from pipeline.kafka.closing import close
from pipeline.kafka.fetched import Fetched, UnreadableRecord
from pipeline.kafka.reach import explaining
from pipeline.kafka.readers import log_ends, new_reader
from pipeline.kafka.records import int_header, source_of
from pipeline.settings import Settings
from pipeline.statestore.changes import Change
from pipeline.statestore.schema import VERSION_HEADER, Schema

PIECE_RECORDS: Final = 40_000
"""Records that are taken in together, sorted: the more, the fewer pages for each (9 µs a record with 10,000, 6 with
40,000). They are gathered for one partition after the other, so that only one such heap is in memory beside the one
that is being taken in."""

AT_ONCE: Final = 8
"""Partitions that are fetched at the same time; with `FETCH_BYTES` the bound of what waits in memory."""

FETCH_BYTES: Final = 512 * 1024
FETCH_WAIT_MS: Final = 50
"""How long a broker may hold back an answer without records: the next request waits behind it."""

POLL_MS: Final = 200
STALL_S: Final = 10.0
"""Without a record for so long, the ends are asked for again: a topic that was cut meanwhile never reaches the old."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one partition in order; everything below `next_offset` has been given out with it."""

    partition: int
    changes: list[Change]
    offsets: list[int]
    next_offset: int


class Changelog:
    """A connected reader of some partitions of the changelog."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, partitions: frozenset[int], schema: Schema) -> None:
        self.topic = topic
        self._consumer = consumer
        self._partitions = sorted(partitions)
        self._version, self._ours = schema.version, schema.headers[0]

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, partitions: frozenset[int], schema: Schema) -> AsyncIterator[Self]:
        """Connect.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        consumer = new_reader(
            settings,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=AT_ONCE * FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            with explaining(settings):
                await consumer.start()
            await asyncio.sleep(
                0
            )  # a stop before its tasks have begun would cancel whoever asks for it (aiokafka 0.14)
            topic = settings.customers_topic
            tps = [TopicPartition(topic, partition) for partition in partitions]
            consumer.assign(tps)
            consumer.pause(*tps)
            yield cls(consumer, topic, partitions, schema)
        finally:
            await close(consumer)

    async def bounds(self) -> dict[int, range]:
        """The offsets that each partition has now, as a range; it may have fewer records than that.

        Raises:
            KafkaError: the brokers did not answer.
        """
        tps = [self._tp(partition) for partition in self._partitions]
        starts, ends = await self._consumer.beginning_offsets(tps), await log_ends(self._consumer, tps)
        return {tp.partition: range(starts[tp], ends[tp]) for tp in tps}

    async def readable(self) -> dict[int, int]:
        """Before which offset of each partition everything can be read.

        Raises:
            KafkaError: the brokers did not answer.
        """
        ends = await self._consumer.end_offsets([self._tp(partition) for partition in self._partitions])
        return {tp.partition: end for tp, end in ends.items()}

    async def at(self, offsets: Mapping[int, int]) -> dict[int, Change | None]:
        """The record that lies at an offset, for several partitions; None when there is none at that offset.

        The offsets must be below the partitions' ends.
        """
        found: dict[int, Change | None] = {}
        wanted = {self._tp(partition): offset for partition, offset in offsets.items()}
        for tp, offset in wanted.items():
            self._consumer.seek(tp, offset)
            self._consumer.resume(tp)
        try:
            watch = _Stall(self, {tp: offset + 1 for tp, offset in wanted.items()})
            while left := [tp for tp in wanted if tp.partition not in found]:
                polled = await self._poll(left, 1)
                for tp, (record, *_) in polled.items():
                    here = record.offset == wanted[tp]
                    found[tp.partition] = (record.key, record.value) if here else None
                for tp in left:
                    if tp.partition not in found and await self._consumer.position(tp) > wanted[tp]:
                        found[tp.partition] = None
                await watch.look(moved=bool(polled))
        finally:
            self._consumer.pause(*wanted)
        return found

    async def read(self, spans: Mapping[int, range]) -> AsyncGenerator[Piece, None]:
        """Everything within `spans`, and what is fetched together with it, piece by piece.

        Raises:
            TopicError: a partition lost its end, or may not be read.
            KafkaError: a broker refused.
        """
        ends = {self._tp(partition): span.stop for partition, span in spans.items() if span}
        for tp in ends:
            self._consumer.seek(tp, spans[tp.partition].start)
        waiting = list(ends)
        fetched: set[TopicPartition] = set()
        watch = _Stall(self, ends)
        while waiting:
            for tp in waiting[:AT_ONCE]:
                if tp not in fetched:
                    fetched.add(tp)
                    self._consumer.resume(tp)  # those behind the first one fetch ahead, as far as their buffers go
            tp = waiting[0]
            changes: list[Change] = []
            offsets: list[int] = []
            ended = False
            while not ended and len(changes) < PIECE_RECORDS:
                records = (await self._poll([tp], PIECE_RECORDS - len(changes))).get(tp, ())
                self._check_version(records)
                changes += [(record.key, record.value) for record in records]
                offsets += [record.offset for record in records]
                ended = await self._consumer.position(tp) >= ends[tp]
                await watch.look(moved=bool(records))
            if ended:
                self._consumer.pause(waiting.pop(0))
            yield Piece(tp.partition, changes, offsets, await self._consumer.position(tp))

    def _check_version(self, records: Sequence[Any]) -> None:
        """Values of a newer version may mean anything; to pass them over would make the state wrong."""
        for record in records:
            headers = record.headers
            if headers and headers[0] != self._ours:
                version = int_header(headers, VERSION_HEADER)
                if version is not None and version > self._version:
                    raise TopicError(
                        f"{source_of(record)} is a fact of schema version {version}, this version of dodo-cio knows "
                        f"{self._version}: a newer one has written {self.topic}, start that one (there is no way back "
                        "behind it without the topic from before)"
                    )

    async def _poll(self, tps: list[TopicPartition], records: int) -> dict[TopicPartition, list[Any]]:
        try:
            polled = await self._consumer.getmany(*tps, timeout_ms=POLL_MS, max_records=records)
        except TopicAuthorizationFailedError:
            raise TopicError(f"topic {self.topic} may not be read: this user has no Read permission on it") from None
        for found in polled.values():
            if isinstance(found, Fetched) and found.odd:
                _refuse_batches(found)
        return {tp: found for tp, found in polled.items() if found}

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)


def _refuse_batches(records: list[Any]) -> None:
    """A record with an odd header has its value; a batch that cannot be decoded has nobody knows which."""
    for record in records:
        if type(record) is UnreadableRecord and record.through is not None:
            raise TopicError(
                f"{source_of(record)}: {record.fault}. It holds facts about customers, without which sums would be "
                "wrong and events would go out again. Start a version that can read it; if its bytes are damaged, let "
                "another replica lead the partition, or bring the topic back from a copy"
            )


class _Stall:
    """Notices that nothing comes any more, and whether the partition's end has gone."""

    def __init__(self, changelog: Changelog, ends: Mapping[TopicPartition, int]) -> None:
        self._changelog = changelog
        self._ends = ends
        self._moved_at = time.monotonic()

    async def look(self, *, moved: bool) -> None:
        """Call after each poll."""
        now = time.monotonic()
        if moved or now - self._moved_at < STALL_S:
            if moved:
                self._moved_at = now
            return
        self._moved_at = now
        topic = self._changelog.topic
        try:
            bounds, readable = await self._changelog.bounds(), await self._changelog.readable()
        except KafkaError as error:
            log.warning("The customers' topic cannot be read yet", topic=topic, error=repr(error))
            return
        for tp, end in self._ends.items():
            if bounds[tp.partition].stop < end:
                raise TopicError(
                    f"{topic}/{tp.partition} ended at {end} and ends at {bounds[tp.partition].stop} now: it was made "
                    "anew or cut while it was read; start the worker again"
                )
        held = {tp.partition: readable[tp.partition] for tp, end in self._ends.items() if readable[tp.partition] < end}
        if held:
            log.warning(
                "The customers' topic cannot be read to its end: a transaction of somebody else is open in it; this "
                "worker waits for its end (one that hangs: kafka-transactions.sh find-hanging)",
                topic=topic, open_since_offset=held,
            )  # fmt: skip
        else:
            log.warning("The customers' topic gives nothing", topic=topic, seconds=STALL_S)
        await asyncio.sleep(0)
