"""Unpacking: fetched bytes become records, in the consumers of this project.

Three things differ from aiokafka's own. It does not do for each record what nobody here reads (a dataclass of eleven
fields with a dictionary). What its decoder gives up on is read again with patience (`wire`), so that no bytes that
Kafka accepted end a consumer, and with it the group. And each poll returns for which offsets it answers, since a reader
that sees a gap must know whether the client passed over it or something was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import cramjam  # noqa: F401 - aiokafka decompresses with it, and without it would only fail batch by batch
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from pipeline.kafka.fetched import Fetched, FetchedRecord
from pipeline.kafka.wire import (
    FRAME,
    FRAME_HEAD,
    MAGIC,
    base_offset_of,
    frame_end,
    is_intact,
    legacy_record,
    read_patiently,
)

READ_AGAIN: Final = 2
"""How often a batch whose checksum does not fit is fetched again before it is given up: what was damaged on the way, or
in a broker's memory, comes in order the second time; what is damaged on its disk never does."""

REMEMBERED: Final = 1000
"""Damaged batches of which it is known how often they were read."""


@dataclass(slots=True)
class Damage:
    """A batch that cannot be trusted: how often it was fetched, and under which offset readers got it."""

    times: int = 0
    told_at: int | None = None


_damaged: dict[tuple[str, int, int], Damage] = {}
"""By topic, partition and base offset."""


class FetchedBytes:
    """One partition's part of a fetch: what aiokafka asks of it, and the bytes themselves."""

    __slots__ = ("data", "has_next", "next_batch", "size_in_bytes")

    def __init__(self, data: bytes | None) -> None:
        data = data or b""  # aiokafka's would look for the size of what is not there
        batches = MemoryRecords(data)
        self.data = data
        self.has_next: Callable[[], bool] = batches.has_next
        self.next_batch: Callable[[], Any] = batches.next_batch
        self.size_in_bytes: Callable[[], int] = batches.size_in_bytes


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's part of a fetch, as records. `next_fetch_offset` is behind all that was given out or passed over.

    Not given out are control batches and, with `read_committed`, what aborted transactions left.
    """

    next_fetch_offset: int
    odd = False

    def __iter__(self) -> Iterator[FetchedRecord]:
        """The generator itself, which ends its reference back to this object when it is exhausted."""
        return self._records_iterator  # type: ignore[no-any-return]

    def _unpack_records(self) -> Iterator[FetchedRecord]:
        topic, partition = self._tp
        batches: FetchedBytes = self._records
        data, end, kind = batches.data, 0, None
        while batches.has_next():
            start = end
            try:
                _, length, _, magic = FRAME.unpack_from(data, start)
                end = start + FRAME_HEAD + length
                if magic != kind:
                    _must_be_known(magic)
                    if kind is not None:  # aiokafka takes all batches for what the first one is
                        data = data[start:]
                        batches, end = FetchedBytes(data), end - start
                        start = 0
                    kind = magic
                batch = batches.next_batch()
                if self._check_crcs and not batch.validate_crc():
                    raise CorruptRecordException  # noqa: TRY301 - as everything that its decoder raises
                if batch.producer_id is None:
                    for record in batch:
                        if record.offset >= self.next_fetch_offset:
                            self.next_fetch_offset = record.offset + 1
                            yield legacy_record(topic, partition, record)
                elif not self._is_passed_over(batch):
                    for record in batch:
                        offset = record.offset
                        if offset < self.next_fetch_offset:
                            continue  # a batch is fetched whole, also when it begins before what was asked for
                        self.next_fetch_offset = offset + 1
                        yield FetchedRecord(
                            topic, partition, offset, record.timestamp, record.timestamp_type, record.key,
                            record.value, record.headers,
                        )  # fmt: skip
                # Behind the batch's own end: compaction may have taken its last records.
                self.next_fetch_offset = max(batch.next_offset, self.next_fetch_offset)
            except Exception:  # noqa: BLE001 - whatever the decoder raises, the bytes are unreadable
                data = data[start:]
                if not (yield from self._patiently(data)):
                    return
                data = data[frame_end(data, 0) or len(data) :]
                batches, end, kind = FetchedBytes(data), 0, None

    def _is_passed_over(self, batch: Any) -> bool:
        """Whether nothing of the batch is for readers: a marker of the end of a transaction, or one that was aborted.

        A marker of either kind ends the producer's transaction. aiokafka looks into it for which kind it is, and
        fails where compaction has emptied it.
        """
        producer_id = batch.producer_id
        if self._aborted_transactions:
            self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch:
            self._aborted_producers.discard(producer_id)
            return True
        aborted = self._aborted_producers
        return bool(aborted) and producer_id in aborted and bool(batch.is_transactional)

    def _patiently(self, data: bytes) -> Generator[FetchedRecord, None, bool]:
        """The first batch of `data`, of which the decoder had given out nothing or a part; whether to go on behind it.

        Not where it shall be fetched again, and not where its end cannot be found.
        """
        self.odd = True
        topic, partition = self._tp
        end = frame_end(data, 0)
        frame = data[:end]
        following = base_offset_of(data, end) if end is not None else None
        trusted = end is not None and is_intact(frame)
        place = (topic, partition, base_offset_of(frame) or 0)
        damage = Damage() if trusted else _damage_at(place)
        damage.times += 1
        if damage.times <= READ_AGAIN and not trusted:
            return False
        records, next_offset = read_patiently(topic, partition, frame, self.next_fetch_offset, following)
        # Without a batch behind it nothing shows how far a damaged one reaches: it comes once more for each further
        # offset, and is reported once.
        if damage.told_at is None or self.next_fetch_offset <= damage.told_at:
            for record in records:
                damage.told_at = record.offset
                self.next_fetch_offset = record.offset + 1
                yield record
        self.next_fetch_offset = max(next_offset, self.next_fetch_offset)
        return end is not None


def _must_be_known(magic: int) -> None:
    if not 0 <= magic <= MAGIC:
        raise CorruptRecordException


def _damage_at(place: tuple[str, int, int]) -> Damage:
    if len(_damaged) >= REMEMBERED:
        _damaged.clear()
    return _damaged.setdefault(place, Damage())


def get_all(result: Any, max_records: int | None = None) -> Fetched | list[Any]:
    """`FetchResult.getall` of aiokafka, with the offsets that the records answer for."""
    if not result.has_more() or not result.check_assignment(result._topic_partition):  # noqa: SLF001
        return []
    records = result._partition_records  # noqa: SLF001
    state = result._assignment.state_value(result._topic_partition)  # noqa: SLF001
    start = records.next_fetch_offset
    found = Fetched(records) if max_records is None else Fetched(islice(records, max_records))
    result._update_position()  # noqa: SLF001
    if max_records is None or len(found) < max_records:
        result._partition_records = None  # noqa: SLF001
    passed = passed_over(state)
    if passed is not None and passed.stop == start:
        start = passed.start
    found.start, found.stop, found.odd = start, records.next_fetch_offset, records.odd
    state.passed_over = None if found else range(found.start, found.stop)
    return found


def passed_over(state: Any) -> range | None:
    """The offsets right before a partition's position of which polls gave nothing, since there is nothing for readers.

    `state` is aiokafka's of the partition in this assignment.
    """
    return getattr(state, "passed_over", None)


def use_our_unpacking() -> None:
    """Let every consumer of this process that has no deserializers unpack this way.

    aiokafka names the classes at one place, as globals of its module, and has no other seam. Calling it again changes
    nothing.
    """
    fetcher.MemoryRecords = FetchedBytes
    fetcher.PartitionRecords = PartitionRecords
    fetcher.FetchResult.getall = get_all
