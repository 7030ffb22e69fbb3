"""Chunks of records on their way out: filled as batches of their partitions, sent once, durable all together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP

from pipeline.errors import DeliveryError, RecordTooLargeError
from pipeline.kafka.cluster.sizes import DEFAULT_MAX_MESSAGE_BYTES
from pipeline.kafka.producer.outlet import UNKNOWN_OFFSET, Outlet, Part
from pipeline.kafka.records import OutRecord


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
        key, value, listed, timestamp_ms = record.key, record.value, [*record.headers], record.timestamp_ms
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
