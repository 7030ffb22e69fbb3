"""Fetched bytes become the records that aiokafka itself would make of them."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from pipeline.kafka.unpacking import PartitionRecords, use_our_unpacking

ORIGINAL = fetcher.PartitionRecords if fetcher.PartitionRecords is not PartitionRecords else PartitionRecords.__base__
FIELDS = (
    "topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "checksum", "serialized_key_size",
    "serialized_value_size",
)  # fmt: skip


def fetched() -> bytes:
    """Two batches with keys, values and headers that are there, empty and absent."""
    batches = b""
    for base in (0, 3):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
        builder.append(base, 1_790_000_000_000, b"ann", b'{"a":1}', [("op-id", b"1"), ("barrier", b"1"), ("x", None)])
        builder.append(base + 1, 1_790_000_000_001, None, b"", [])
        builder.append(base + 2, 1_790_000_000_002, b"", None, [])
        batches += bytes(builder.build())
    return batches


def unpack(kind: Any, data: bytes, from_offset: int = 0) -> Any:
    """The records of one partition's part of a fetch."""
    return kind(TopicPartition("t", 3), MemoryRecords(data), [], from_offset, None, None, True, fetcher.READ_COMMITTED)


@pytest.mark.parametrize("from_offset", [0, 2])
def test_the_same_records(from_offset: int) -> None:
    """Every field that aiokafka's record has is the same, also when the fetch begins before what was asked for."""
    theirs, ours = unpack(ORIGINAL, fetched(), from_offset), unpack(PartitionRecords, fetched(), from_offset)
    expected, found = list(theirs), list(ours)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert [getattr(one, name) for name in FIELDS] == [getattr(other, name) for name in FIELDS]
        assert list(one.headers) == list(other.headers)
    assert ours.next_fetch_offset == theirs.next_fetch_offset


def test_in_parts() -> None:
    """What one call left over comes with the next, as `max_records` and `getone` of aiokafka need it."""
    records = unpack(PartitionRecords, fetched())
    first = next(records)
    rest = []
    for record in records:
        rest.append(record.offset)
        if len(rest) == 1:
            break
    rest += [record.offset for record in records]
    assert [first.offset, *rest] == sorted({first.offset, *rest})
    assert next(records, None) is None


def test_corruption() -> None:
    """A batch whose checksum does not fit is refused."""
    with pytest.raises(CorruptRecordException):
        list(unpack(PartitionRecords, fetched()[:-1] + b"?"))


def test_in_force() -> None:
    """The fetcher of aiokafka makes its records with the class that was put in its place."""
    use_our_unpacking()
    assert fetcher.PartitionRecords is PartitionRecords
    assert "PartitionRecords" in fetcher.Fetcher._proc_fetch_request.__code__.co_names
