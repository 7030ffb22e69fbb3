"""Fetched bytes become records: aiokafka's own where it can, and something to write down where it cannot."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.kafka import unpacking
from pipeline.kafka.fetched import Fetched, FetchedRecord, UnreadableRecord
from pipeline.kafka.unpacking import READ_AGAIN, FetchedBytes, PartitionRecords, passed_over, use_our_unpacking
from tests.kafka.record_bytes import (
    ABORT,
    CODECS,
    COMMIT,
    CONTROL,
    GZIP,
    LZ4,
    TRANSACTIONAL,
    Wire,
    batch,
    damaged,
    emptied,
    marker,
    message_set,
    transactional,
    varint,
)

ORIGINAL = fetcher.PartitionRecords if fetcher.PartitionRecords is not PartitionRecords else PartitionRecords.__base__
FIELDS = (
    "topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "checksum", "serialized_key_size",
    "serialized_value_size",
)  # fmt: skip
TP = TopicPartition("t", 3)
NAMES = Wire(headers=[(b"op-id", b"1"), (b"barrier", b"1"), (b"x", None)])
ODD = Wire(b"odd", b"{}", [(b"webhook-id", b"msg_1"), (b"caf\xe9", b"1")])


def fetched() -> bytes:
    """Two batches with keys, values and headers that are there, empty and absent."""
    return b"".join(
        batch(base, NAMES._replace(value=b'{"a":1}'), Wire(None, b""), Wire(b"", None), last_delta=3) for base in (0, 4)
    )


def unpack(kind: Any, data: bytes, from_offset: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> Any:
    """The records of one partition's part of a fetch."""
    batches = FetchedBytes(data) if kind is PartitionRecords else MemoryRecords(data)
    return kind(TP, batches, list(aborted), from_offset, None, None, True, fetcher.READ_COMMITTED)


def ours(data: bytes, from_offset: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> tuple[list[Any], int]:
    """What our unpacking makes of it, and where it would go on."""
    records = unpack(PartitionRecords, data, from_offset, aborted)
    return list(records), records.next_fetch_offset


@pytest.fixture(autouse=True)
def _forget_damage() -> Iterator[None]:
    unpacking._damaged.clear()
    yield
    unpacking._damaged.clear()


@pytest.mark.parametrize("from_offset", [0, 2])
def test_the_same_records(from_offset: int) -> None:
    """Every field that aiokafka's record has is the same, also when the fetch begins before what was asked for."""
    theirs = unpack(ORIGINAL, fetched(), from_offset)
    expected = list(theirs)
    found, next_offset = ours(fetched(), from_offset)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert type(one) is FetchedRecord
        assert [getattr(one, name) for name in FIELDS] == [getattr(other, name) for name in FIELDS]
        assert list(one.headers) == list(other.headers)
    assert next_offset == theirs.next_fetch_offset == 8


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


@pytest.mark.parametrize("compression", CODECS)
def test_codecs(compression: int) -> None:
    """Whatever codec a producer or a topic chose, the records are there."""
    found, next_offset = ours(batch(5, NAMES, Wire(value=b"x" * 1000), compression=compression))
    assert [(one.offset, one.value) for one in found] == [(5, b"v"), (6, b"x" * 1000)]
    assert next_offset == 7


@pytest.mark.parametrize("compression", [0, GZIP])
@pytest.mark.parametrize("from_offset", [0, 10, 11])
def test_a_header_s_name_that_is_not_utf_8(compression: int, from_offset: int) -> None:
    """The record stands among the others as unreadable, with all that it has; those around it are as they are."""
    found, next_offset = ours(batch(10, Wire(), ODD, Wire(), compression=compression) + batch(13, Wire()), from_offset)
    assert [one.offset for one in found] == list(range(max(from_offset, 10), 14))
    odd = next(one for one in found if type(one) is UnreadableRecord)
    assert (odd.offset, odd.key, odd.value, odd.through) == (11, b"odd", b"{}", None)
    assert list(odd.headers) == [("webhook-id", b"msg_1"), ("caf\\xe9", b"1")]
    assert odd.fault == "the name of a header is not UTF-8: caf\\xe9"
    assert [type(one) for one in found if one is not odd] == [FetchedRecord] * (len(found) - 1)
    assert next_offset == 14


def test_an_unknown_codec_is_named() -> None:
    """One unreadable record stands for the batch, with its bytes; what is around it comes as ever."""
    unknown = batch(10, Wire(), Wire(), Wire(), attributes=6)
    found, next_offset = ours(batch(9, Wire()) + unknown + batch(13, Wire()))
    assert [one.offset for one in found] == [9, 10, 13]
    assert (found[1].through, found[1].value, found[1].key) == (12, unknown, None)
    assert found[1].fault == (
        "a batch (offsets 10 to 12) cannot be decoded: it is compressed with codec 6, and this version knows none, "
        "gzip, snappy, lz4, zstd"
    )
    assert next_offset == 14


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x1f\x8bno gzip", "gzip does not decompress it"),
        (CODECS[GZIP](varint(500) + b"short"), "a record is longer than the batch"),
    ],
    ids=["no gzip", "no record"],  # gzip writes the time
)
def test_what_does_not_decompress(body: bytes, why: str) -> None:
    """Whatever a codec's library raises: a batch whose checksum fits is what its producer sent, and is written down."""
    found, next_offset = ours(batch(0, Wire(), compression=GZIP, body=body) + batch(1, Wire()))
    assert [(one.offset, type(one)) for one in found] == [(0, UnreadableRecord), (1, FetchedRecord)]
    assert why in found[0].fault
    assert next_offset == 2


def test_a_batch_that_breaks_off() -> None:
    """The records before the place are records; what stands for the rest begins behind them."""
    whole = batch(7, Wire(), Wire(), Wire())
    body = whole[61:]
    length = len(body) // 3
    found, next_offset = ours(batch(7, Wire(), Wire(), Wire(), body=body[: 2 * length] + varint(99)))
    assert [(one.offset, type(one)) for one in found] == [
        (7, FetchedRecord), (8, FetchedRecord), (9, UnreadableRecord),
    ]  # fmt: skip
    assert (found[2].through, next_offset) == (9, 10)


def fetch_until(data: bytes, from_offset: int, fetches: int) -> tuple[list[Any], int]:
    """What so many fetches from where the last one ended bring; each brings all of `data` that reaches so far."""
    found: list[Any] = []
    for _ in range(fetches):
        records, from_offset = ours(data, from_offset)
        found += records
    return found, from_offset


def test_a_damaged_batch_is_fetched_again() -> None:
    """Damage on the way heals: what comes in order the next time is read, and nothing is written down."""
    good = batch(5, Wire(), Wire())
    assert ours(batch(4, Wire()) + damaged(good) + batch(7, Wire()), 4)[1] == 5
    assert [(one.offset, type(one)) for one in ours(good, 5)[0]] == [(5, FetchedRecord), (6, FetchedRecord)]


def test_a_batch_that_stays_damaged() -> None:
    """It is written down once, the batch behind it says how far it reached, and the flow goes on."""
    bad = damaged(batch(5, Wire(), Wire()))
    found, next_offset = fetch_until(batch(4, Wire()) + bad + batch(7, Wire()), 4, READ_AGAIN + 1)
    assert [(one.offset, type(one)) for one in found] == [
        (4, FetchedRecord), (5, UnreadableRecord), (7, FetchedRecord),
    ]  # fmt: skip
    assert (found[1].through, found[1].value, next_offset) == (6, bad, 8)
    assert "its checksum does not fit" in found[1].fault


def test_a_damaged_batch_at_the_end() -> None:
    """Its own word on its extent may be damaged too. Nothing is passed over on it, and it is written down once."""
    bad = damaged(batch(5, Wire(), Wire(), Wire()))
    found, next_offset = fetch_until(bad, 5, READ_AGAIN + 3)
    assert [(one.offset, one.through) for one in found] == [(5, 5)]
    assert next_offset == 8
    again, _ = fetch_until(bad, 5, 1)
    assert [(one.offset, one.through) for one in again] == [(5, 5)]  # who reads it from before is told as well


def test_a_format_of_the_future() -> None:
    """Its version is named; only where it begins is the same in every version."""
    new = batch(5, Wire(), magic=3)
    found, next_offset = fetch_until(new + batch(6, Wire()), 5, READ_AGAIN + 1)
    assert [(one.offset, type(one)) for one in found] == [(5, UnreadableRecord), (6, FetchedRecord)]
    assert "its format has version 3, and this version knows 0 to 2" in found[0].fault
    assert next_offset == 7


@pytest.mark.parametrize("length", [-1, 3, 13])
def test_a_length_that_cannot_be(length: int) -> None:
    """What follows cannot be found and is asked for again; that ends in one record for one offset, not in a crash."""
    lost = struct.pack(">qi", 5, length) + b"?" * 40
    found, next_offset = fetch_until(batch(4, Wire()) + lost, 4, READ_AGAIN + 1)
    assert [(one.offset, type(one)) for one in found] == [(4, FetchedRecord), (5, UnreadableRecord)]
    assert next_offset == 6


@pytest.mark.parametrize("compression", [0, GZIP, LZ4])
def test_old_messages(compression: int) -> None:
    """What producers of old versions wrote lies beside what new ones write, in any order; a time that is none is -1."""
    old = message_set(3, Wire(), Wire(None, None), compression=compression)
    found, next_offset = ours(batch(2, Wire()) + old + batch(5, NAMES) + message_set(6, Wire(), magic=0))
    assert [(one.offset, one.value) for one in found] == [(2, b"v"), (3, b"v"), (4, None), (5, b"v"), (6, b"v")]
    assert [one.timestamp for one in found[1:3]] == [1_790_000_000_000] * 2
    assert (found[4].timestamp, found[4].headers, next_offset) == (-1, [], 7)
    assert {type(one) for one in found} == {FetchedRecord}


def test_old_messages_of_an_old_lz4() -> None:
    """Version 0 wrote lz4 frames that no library reads (KAFKA-3160): written down like any other batch."""
    odd = bytearray(message_set(3, Wire(), Wire(), magic=1, compression=LZ4))
    odd[16] = 0
    del odd[18:26]  # it has no timestamp
    struct.pack_into(">i", odd, 8, len(odd) - 12)
    from zlib import crc32

    struct.pack_into(">I", odd, 12, crc32(bytes(odd[16:])))
    found, next_offset = ours(bytes(odd) + batch(5, Wire()), 3)
    assert [(one.offset, type(one)) for one in found] == [(3, UnreadableRecord), (5, FetchedRecord)]
    assert (found[0].through, next_offset) == (4, 6)
    assert "LZ4" in found[0].fault


@pytest.mark.parametrize("timestamp", [-1, -62_135_596_800_000, 253_402_300_800_000, 2**63 - 1, -(2**63)])
def test_times_far_away(timestamp: int) -> None:
    """A record of no time, of the year 1, of 10,000 and of the ends of the number has that time, read either way."""
    far = Wire(timestamp=timestamp)
    found, _ = ours(batch(0, Wire(), far) + batch(2, far, ODD._replace(timestamp=timestamp)))
    assert [one.timestamp for one in found[1:]] == [timestamp] * 3


def test_a_thousand_headers() -> None:
    """All of them are there, the same name again and again, and the odd one among them is found."""
    many = [(b"h", b"%d" % number) for number in range(1000)]
    found, _ = ours(batch(0, Wire(headers=many), Wire(headers=[*many, (b"\xff", b"")])))
    assert [len(one.headers) for one in found] == [1000, 1001]
    assert [type(one) for one in found] == [FetchedRecord, UnreadableRecord]


# --- transactions -----------------------------------------------------------------------------------------------------


def offsets(found: tuple[list[Any], int]) -> tuple[list[int], int]:
    """Which records came, and where it goes on."""
    assert {type(one) for one in found[0]} <= {FetchedRecord}
    return [one.offset for one in found[0]], found[1]


def test_aborted_transactions() -> None:
    """Of two producers whose transactions lie within each other, and of one that aborts and commits in turn, only what
    was committed is read."""  # noqa: D205, D209 - one promise
    data = b"".join(
        [
            transactional(0, 1, Wire(), Wire()), transactional(2, 2, Wire()), transactional(3, 1, Wire()),
            marker(4, 1, ABORT), transactional(5, 2, Wire()), marker(6, 2, COMMIT),
            transactional(7, 1, Wire()), marker(8, 1, COMMIT),
            transactional(9, 1, Wire()), batch(10, Wire()), marker(11, 1, ABORT),
        ]
    )  # fmt: skip
    assert offsets(ours(data, 0, [(1, 9), (1, 0)])) == ([2, 5, 7, 10], 12)
    assert offsets(ours(data, 3, [(1, 9), (1, 0)])) == ([5, 7, 10], 12)


@pytest.mark.parametrize(
    "ends", [marker(1, 1, ABORT), emptied(1, 1, attributes=TRANSACTIONAL | CONTROL)], ids=["whole", "emptied"]
)
def test_a_marker_that_compaction_emptied(ends: bytes) -> None:
    """The head of a marker is enough to end a transaction; aiokafka's own reader fails on one without a record."""
    data = transactional(0, 1, Wire()) + ends + transactional(2, 1, Wire()) + marker(3, 1, COMMIT)
    assert offsets(ours(data, 0, [(1, 0)])) == ([2], 4)


def test_batches_that_compaction_emptied() -> None:
    """They have no record, and the next fetch goes on behind them."""
    assert offsets(ours(emptied(3, 7, last_delta=4) + batch(8, Wire()) + emptied(9, 7, last_delta=2))) == ([8], 12)


def test_an_aborted_batch_is_not_even_decoded() -> None:
    """What nobody shall read is nobody's unreadable record."""
    data = transactional(0, 1, ODD) + marker(1, 1, ABORT) + batch(2, Wire())
    assert offsets(ours(data, 0, [(1, 0)])) == ([2], 3)


# --- what a poll answers for ------------------------------------------------------------------------------------------


class Partition:
    """One assigned partition, as aiokafka's fetcher keeps it."""

    def __init__(self, position: int) -> None:
        self.assignment = Assignment([TP])
        self.state = self.assignment.state_value(TP)
        self.state.seek(position)

    def polled(self, data: bytes, max_records: int | None = None, aborted: Sequence[tuple[int, int]] = ()) -> list[Any]:
        """Everything that polls give of one fetch."""
        use_our_unpacking()
        records = unpack(PartitionRecords, data, self.state.position, aborted)
        result = FetchResult(TP, assignment=self.assignment, partition_records=records, backoff=0)
        polls = []
        while result.has_more():
            polls.append(result.getall(max_records))
        return [(found.start, found.stop, [one.offset for one in found]) for found in polls if found]


@pytest.fixture
async def partition() -> Partition:
    """At offset 0."""
    await asyncio.sleep(0)
    return Partition(0)


async def test_a_poll_answers_for_what_it_passed_over(partition: Partition) -> None:
    """From where the fetch began to where the next one begins, markers and compacted offsets included."""
    data = marker(0, 1) + batch(3, Wire(), Wire(), last_delta=4) + marker(8, 1)
    assert partition.polled(data) == [(0, 9, [3, 4])]
    assert partition.state.position == 9


async def test_polls_of_a_part(partition: Partition) -> None:
    """With a limit each answers for its own part, and together for everything."""
    assert partition.polled(batch(1, Wire(), Wire(), Wire()) + marker(4, 1), 2) == [(0, 3, [1, 2]), (3, 5, [3])]


async def test_a_poll_without_records_is_told_by_the_next_one(partition: Partition) -> None:
    """What gave nothing is remembered, and belongs to the next records if they begin where it ended."""
    assert partition.polled(marker(0, 1)) == []
    assert partition.polled(transactional(1, 1, Wire()) + marker(2, 1), aborted=[(1, 1)]) == []
    assert passed_over(partition.state) == range(3)
    assert partition.polled(batch(5, Wire())) == [(0, 6, [5])]
    assert passed_over(partition.state) is None


async def test_a_seek_in_between(partition: Partition) -> None:
    """What lay before another place says nothing about this one."""
    assert partition.polled(marker(0, 1)) == []
    partition.state.seek(7)
    assert partition.polled(batch(7, Wire())) == [(7, 8, [7])]


async def test_paused(partition: Partition) -> None:
    """A poll of a paused partition gives nothing and answers for nothing."""
    partition.state.pause()
    assert partition.polled(batch(0, Wire())) == []
    assert passed_over(partition.state) is None
    assert partition.state.position == 0
    partition.state.resume()


async def test_odd_ones_are_marked(partition: Partition) -> None:
    """Who must look for unreadable records need not look at every record of every poll."""
    use_our_unpacking()
    for data, odd in ((batch(0, Wire()), False), (batch(1, ODD), True)):
        records = unpack(PartitionRecords, data, partition.state.position)
        result = FetchResult(TP, assignment=partition.assignment, partition_records=records, backoff=0)
        assert cast("Fetched", result.getall()).odd is odd


# --- anything ---------------------------------------------------------------------------------------------------------

NAME = st.sampled_from([b"op-id", b"", b"caf\xe9", b"\xed\xa0\x80", "für".encode()]) | st.binary(max_size=4)
WIRE = st.builds(
    Wire,
    st.none() | st.binary(max_size=5),
    st.none() | st.binary(max_size=5),
    st.lists(st.tuples(NAME, st.none() | st.binary(max_size=3)), max_size=3),
    st.sampled_from([-1, 0, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1),
)
BATCH = st.tuples(
    st.lists(WIRE, max_size=4),
    st.sampled_from([*CODECS, 5, 7]),
    st.sampled_from([-1, 1, 2]),
    st.sampled_from([0, TRANSACTIONAL]),
    st.integers(0, 2),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BATCH, max_size=6), st.integers(0, 8))
def test_whatever_kafka_accepts(described: list[Any], from_offset: int) -> None:
    """Every offset that holds a record comes once and in order, as itself or as unreadable, and the end is reached."""
    data, base = b"", 0
    expected: dict[int, Wire | None] = {}
    for records, compression, producer_id, attributes, gone in described:
        unknown = compression not in CODECS
        body = {"body": b"?"} if unknown else {}
        data += batch(
            base, *records, attributes=attributes | (compression if unknown else 0), producer_id=producer_id,
            compression=0 if unknown else compression, last_delta=max(len(records) - 1, 0) + gone, **cast("Any", body),
        )  # fmt: skip
        end = base + max(len(records) - 1, 0) + gone + 1
        if unknown and records and end > from_offset:
            expected[max(base, from_offset)] = None
        elif not unknown:
            expected |= {base + at: one for at, one in enumerate(records) if base + at >= from_offset}
        base = end
    found, next_offset = ours(data, from_offset)
    assert [one.offset for one in found] == list(expected)
    for one in found:
        sent = expected[one.offset]
        if sent is None:
            assert one.through is not None
            continue
        assert (one.key, one.value, one.timestamp) == (sent.key, sent.value, sent.timestamp)
        assert [value for _, value in one.headers] == [value for _, value in sent.headers]
        assert (type(one) is UnreadableRecord) == any(not is_text(name) for name, _ in sent.headers)
    assert next_offset == max(base, from_offset)


def is_text(name: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_becomes_of_bytes(data: st.DataObject) -> None:
    """Damaged anywhere, length and checksum too: reading goes on and ends, offsets rise, and nothing is raised."""
    whole = b"".join(
        [
            batch(0, NAMES, Wire(), compression=data.draw(st.sampled_from(list(CODECS)))),
            message_set(2, Wire(), Wire(), compression=data.draw(st.sampled_from([0, GZIP, LZ4]))),
            transactional(4, 1, Wire()),
            marker(5, 1, COMMIT),
            batch(6, ODD, Wire()),
        ]
    )
    broken = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        broken[at] = data.draw(st.integers(0, 255))
    unpacking._damaged.clear()
    at = 0
    seen: list[int] = []
    for _ in range(40):
        found, at = ours(bytes(broken), at)
        seen += [one.offset for one in found]
    assert all(one < other for one, other in itertools.pairwise(seen))


def test_in_force() -> None:
    """The fetcher of aiokafka works with what was put in its place."""
    use_our_unpacking()
    assert fetcher.PartitionRecords is PartitionRecords
    assert fetcher.MemoryRecords is FetchedBytes
    assert {"PartitionRecords", "MemoryRecords"} <= set(fetcher.Fetcher._proc_fetch_request.__code__.co_names)
    assert "getall" in fetcher.Fetcher.fetched_records.__code__.co_names
