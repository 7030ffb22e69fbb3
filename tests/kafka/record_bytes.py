"""Record batches as bytes, with whatever a producer may put into them and no client of ours would."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, codec
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from pipeline.kafka.records import OutRecord

CODECS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: codec.gzip_encode,
    2: codec.snappy_encode,
    3: codec.lz4_encode,
    4: codec.zstd_encode,
}
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

NOT_YET = {3, 5, 6}
"""Unknown topic, no leader, not the leader: metadata tells of a new topic a moment before its broker has its log."""

WITHIN_S = 300.0


class Wire(NamedTuple):
    """A record as it is written; header names are bytes."""

    key: bytes | None = b"k"
    value: bytes | None = b"v"
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    timestamp: int = 1_790_000_000_000


def varint(number: int) -> bytes:
    """Zigzag, as in the protocol."""
    number = (number << 1) ^ (number >> 63)
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    """Bytes behind their length."""
    return varint(-1) if data is None else varint(len(data)) + data


def record_body(record: Wire, offset_delta: int, first_timestamp: int) -> bytes:
    """One record behind its length."""
    delta = (record.timestamp - first_timestamp + (1 << 63)) % (1 << 64) - (1 << 63)
    headers = b"".join(sized(name) + sized(value) for name, value in record.headers)
    body = b"\0" + varint(delta) + varint(offset_delta) + sized(record.key) + sized(record.value)
    body += varint(len(record.headers)) + headers
    return varint(len(body)) + body


def batch(
    base: int,
    *records: Wire,
    compression: int = 0,
    producer_id: int = -1,
    attributes: int = 0,
    last_delta: int | None = None,
    magic: int = 2,
    deltas: Sequence[int] | None = None,
    body: bytes | None = None,
) -> bytes:
    """A batch of magic 2 at offset `base`, its checksum right; `body` stands in for the records."""
    first = records[0].timestamp if records else -1
    placed = list(deltas or range(len(records)))
    if body is None:
        body = b"".join(record_body(record, delta, first) for record, delta in zip(records, placed, strict=True))
        body = CODECS[compression](body)
    last = last_delta if last_delta is not None else (placed[-1] if placed else 0)
    highest = max((record.timestamp for record in records), default=-1)
    head = struct.pack(
        ">hiqqqhii", attributes | compression, last, first, highest, producer_id, 0, 0, len(records)
    )  # fmt: skip
    rest = head + body
    return struct.pack(">qiibI", base, len(rest) + 9, -1, magic, calc_crc32c(rest)) + rest


TRANSACTIONAL, CONTROL, LOG_APPEND_TIME = 0x10, 0x20, 0x08
ABORT, COMMIT = 0, 1


def transactional(base: int, producer_id: int, *records: Wire) -> bytes:
    """A batch of a transaction."""
    return batch(base, *records, producer_id=producer_id, attributes=TRANSACTIONAL)


def marker(base: int, producer_id: int, kind: int = ABORT) -> bytes:
    """What ends a producer's transaction in a partition."""
    record = Wire(struct.pack(">hh", 0, kind), struct.pack(">hi", 0, 0))
    return batch(base, record, producer_id=producer_id, attributes=TRANSACTIONAL | CONTROL)


def emptied(base: int, producer_id: int, last_delta: int = 0, attributes: int = TRANSACTIONAL) -> bytes:
    """What compaction leaves of a producer's last batch, or of a marker with `CONTROL`: its head alone."""
    return batch(base, producer_id=producer_id, attributes=attributes, last_delta=last_delta)


def message_set(base: int, *records: Wire, magic: int = 1, compression: int = 0) -> bytes:
    """What producers before Kafka 0.11 wrote: messages one by one, or wrapped and compressed."""
    builder = LegacyRecordBatchBuilder(magic, compression, 1_000_000)
    for number, record in enumerate(records):
        builder.append(number, record.timestamp, record.key, record.value)
    data = bytearray(builder.build())
    if compression:
        struct.pack_into(">q", data, 0, base + len(records) - 1)
        return bytes(data)
    at = number = 0
    while at < len(data):
        length = struct.unpack_from(">i", data, at + 8)[0]
        struct.pack_into(">q", data, at, base + number)
        at, number = at + 12 + length, number + 1
    return bytes(data)


def damaged(frame: bytes) -> bytes:
    """The same with one byte changed behind the checksum."""
    return frame[:-1] + bytes([frame[-1] ^ 0x55])


def wire(record: OutRecord, *odd: bytes) -> Wire:
    """A record of ours as it is written, with headers of these names behind its own."""
    headers = [(name.encode(), value) for name, value in record.headers] + [(name, b"1") for name in odd]
    return Wire(
        record.key, record.value, headers, Wire().timestamp if record.timestamp_ms is None else record.timestamp_ms
    )


async def put(bootstrap_servers: str, topic: str, frame: bytes, partition: int = 0) -> int:
    """Let a broker take a batch as it is; the offset that it gave the first record."""
    request = ProduceRequest(None, -1, 30_000, [(topic, [(partition, frame)])])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer, asyncio.timeout(WITHIN_S):
        while True:
            await producer.partitions_for(topic)
            leader = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
            answer = await producer.client.send(leader, request)
            ((_, ((_, error_code, base_offset, *_),)),) = answer.topics
            if error_code not in NOT_YET:
                break
            await asyncio.sleep(0.05)
    assert error_code == 0, f"the broker refused the batch: error {error_code}"
    return int(base_offset)
