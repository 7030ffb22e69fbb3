"""Record batches as bytes, read with patience: for those that the client's own decoder gives up on.

Pure, and slow beside the client's, which reads everything that is in order (`unpacking`). The layout is that of the
Kafka protocol guide, *Messages*: batches of magic 2, and message sets of magic 0 and 1 as producers before 0.11 wrote.
Only base offset and length are the same in all of them, and so in those to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

from aiokafka import codec
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import calc_crc32c

from pipeline.kafka.fetched import NO_TIME, FetchedRecord, UnreadableRecord

FRAME: Final = Struct(">qiib")
"""Base offset, the number of bytes that follow that, four bytes that each format uses in its own way, and its magic."""

FRAME_HEAD: Final = 12
"""Base offset and length."""

MIN_LENGTH: Final = 14
"""Of the shortest message there ever was (magic 0, no key, no value); with less the next frame cannot be found."""

MAGIC_AT: Final = 16
MAGIC: Final = 2
CRC_FROM: Final = 21

HEAD: Final = Struct(">qiibIhiqqqhii")
"""A batch of magic 2 before its records."""

CODECS: Final = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20

VARINT_BITS: Final = 63
_SIGNED: Final = 1 << VARINT_BITS


class Undecodable(Exception):  # noqa: N818 - no error of the program: it is about the bytes
    """The bytes are no batch, or not one that this version knows; the message has the reason."""


class Head(NamedTuple):
    """The header of a batch of magic 2, before its records."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def last_offset(self) -> int:
        """Of its last record, also when compaction has taken that."""
        return self.base_offset + self.last_offset_delta


class Patient(NamedTuple):
    """What was made of a batch: its records in order, and the next offset behind it."""

    records: list[FetchedRecord]
    next_offset: int


def frame_end(data: bytes | memoryview, start: int) -> int | None:
    """Where the batch that begins at `start` ends; None when its length cannot be true."""
    if start + FRAME.size > len(data):
        return None
    length = FRAME.unpack_from(data, start)[1]
    end: int = start + FRAME_HEAD + length
    return end if length >= MIN_LENGTH and end <= len(data) else None


def base_offset_of(data: bytes | memoryview, start: int = 0) -> int | None:
    """The base offset of the batch at `start`, None behind the last whole one."""
    return FRAME.unpack_from(data, start)[0] if start + FRAME.size <= len(data) else None


def is_intact(frame: bytes) -> bool:
    """Whether the checksum fits; a batch of a magic that is not known has none that could be looked at."""
    magic = frame[MAGIC_AT]
    if magic < MAGIC:
        try:
            return bool(LegacyRecordBatch(frame, magic).validate_crc())
        except Exception:  # noqa: BLE001 - it reads the message before its checksum, and fails in ways of its own
            return False
    if magic > MAGIC or len(frame) < HEAD.size:
        return False
    return bool(calc_crc32c(frame[CRC_FROM:]) == Head._make(HEAD.unpack_from(frame)).crc)


def read_patiently(topic: str, partition: int, frame: bytes, start: int, end: int | None) -> Patient:
    """Everything from `start` on that the batch `frame` holds; what cannot be read of it as unreadable records.

    `end` is where the next batch begins, when that is known. It bounds a batch whose own word on its extent cannot be
    trusted: without it such a batch counts for one offset, so that nothing behind it is passed over.
    """
    base = base_offset_of(frame)
    magic = frame[MAGIC_AT] if base is not None else None
    if base is None or magic is None or not is_intact(frame):
        why = (
            f"its format has version {magic}, and this version knows 0 to {MAGIC}"
            if magic is not None and magic > MAGIC
            else "its checksum does not fit its bytes, which were damaged on a disk or on the way"
        )
        stop = max(end if end is not None else start + 1, start + 1)
        first = base if base is not None and start <= base < stop else start
        return Patient([_whole((topic, partition), frame, first, stop - 1, why)], stop)
    if magic < MAGIC:
        return _message_set(topic, partition, frame, magic, start)
    head = Head._make(HEAD.unpack_from(frame))
    records: list[FetchedRecord] = []
    if head.attributes & CONTROL or head.last_offset < start:
        return Patient(records, max(head.last_offset + 1, start))
    at = max(start, head.base_offset)
    try:
        for record in _records(topic, partition, frame, head):
            if record.offset >= at:
                records.append(record)
                at = record.offset + 1
    except Undecodable as why:
        records.append(_whole((topic, partition), frame, at, max(head.last_offset, at), str(why)))
        at = records[-1].offset + 1
    return Patient(records, max(head.last_offset + 1, at))


def _message_set(topic: str, partition: int, frame: bytes, magic: int, start: int) -> Patient:
    """A message of an old format, or the compressed set of messages that it wraps; there are no headers to go wrong."""
    last = FRAME.unpack_from(frame)[0]
    records: list[FetchedRecord] = []
    if last < start:
        return Patient(records, start)
    at = start
    try:
        for found in LegacyRecordBatch(frame, magic):
            if found.offset >= at:
                records.append(legacy_record(topic, partition, found))
                at = found.offset + 1
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the decoder raises for bytes of a producer
        records.append(_whole((topic, partition), frame, at, max(last, at), _why(error)))
        at = records[-1].offset + 1
    return Patient(records, max(last + 1, at))


def legacy_record(topic: str, partition: int, found: Any) -> FetchedRecord:
    """The record that aiokafka made of an old message, which may have no time."""
    timestamp = NO_TIME if found.timestamp is None else found.timestamp
    return FetchedRecord(
        topic, partition, found.offset, timestamp, found.timestamp_type, found.key, found.value, found.headers
    )


def _whole(place: tuple[str, int], frame: bytes, first: int, last: int, why: str) -> UnreadableRecord:
    extent = f"offset {first}" if first == last else f"offsets {first} to {last}"
    fault = f"a batch ({extent}) cannot be decoded: {why}"
    return UnreadableRecord(*place, first, NO_TIME, None, None, frame, (), fault, last)


def _records(topic: str, partition: int, frame: bytes, head: Head) -> Iterator[FetchedRecord]:
    """The records of a batch of magic 2.

    Raises:
        Undecodable: the rest of the batch cannot be read.
    """
    if not head.records:
        return  # compaction emptied it, and nothing can be wrong with nothing
    data = _decompressed(frame[HEAD.size :], head.attributes & CODEC_MASK)
    at = 0
    lowest = head.base_offset
    for _ in range(head.records):
        length, at = _varint(data, at)
        end = at + length
        if length < 0 or end > len(data):
            raise Undecodable("a record is longer than the batch")
        record = _record(topic, partition, data[at:end], head)
        if not lowest <= record.offset <= head.last_offset:
            raise Undecodable("the offsets of its records are not in order")
        lowest = record.offset + 1
        at = end
        yield record
    if at != len(data):
        raise Undecodable("something follows its last record")


def _record(topic: str, partition: int, data: bytes, head: Head) -> FetchedRecord:
    time_delta, at = _varint(data, 1)  # behind the attributes, of which none is in use
    offset_delta, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = _varint(data, at)
    if not 0 <= count <= len(data):
        raise Undecodable("a record has an impossible number of headers")
    headers: list[tuple[str, bytes]] = []
    odd: list[str] = []
    for _ in range(count):
        raw, at = _bytes(data, at)
        header, at = _bytes(data, at)
        if raw is None:
            raise Undecodable("a header has no name")
        name = raw.decode("utf-8", "backslashreplace")
        if name.encode() != raw:
            odd.append(name)
        headers.append((name, header))  # type: ignore[arg-type] # a value may be null; whoever reads it knows
    if at != len(data):
        raise Undecodable("a record does not end where it says")
    if head.attributes & LOG_APPEND_TIME:
        timestamp, timestamp_type = head.max_timestamp, 1
    else:
        timestamp, timestamp_type = _wrapped(head.first_timestamp + time_delta), 0
    offset = head.base_offset + offset_delta
    if not odd:
        return FetchedRecord(topic, partition, offset, timestamp, timestamp_type, key, value, headers)
    fault = f"the name of a header is not UTF-8: {odd[0][:100]}" + (f" (and {len(odd) - 1} more)" if odd[1:] else "")
    return UnreadableRecord(topic, partition, offset, timestamp, timestamp_type, key, value, headers, fault)


def _decompressed(data: bytes, codec_number: int) -> bytes:
    if not codec_number:
        return data
    name = CODECS.get(codec_number)
    if name is None:
        known = ", ".join(["none", *CODECS.values()])
        raise Undecodable(f"it is compressed with codec {codec_number}, and this version knows {known}")
    decode = {
        "gzip": codec.gzip_decode,
        "snappy": codec.snappy_decode,
        "lz4": codec.lz4_decode,
        "zstd": codec.zstd_decode,
    }[name]
    try:
        return bytes(decode(data))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - each codec has exceptions of its own
        raise Undecodable(f"{name} does not decompress it ({_why(error)})") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 64 bits, and where the next thing begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > VARINT_BITS:
            raise Undecodable("a record ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes behind their length; a negative one is null."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    end = at + length
    if end > len(data):
        raise Undecodable("a field is longer than its record")
    return data[at:end], end


def _wrapped(number: int) -> int:
    """`number` as a signed 64-bit one: a producer can write a difference that leads over its end."""
    return (number + _SIGNED) % (2 * _SIGNED) - _SIGNED


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
