"""Chunks of records: their batches, their limits and their places, with `send_batch` played by a function."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka.record import MemoryRecords

from pipeline.errors import BrokenSequenceError, DeliveryError, RecordTooLargeError
from pipeline.kafka.events import BatchProduced
from pipeline.kafka.records import OutRecord
from tests.kafka.producer.batches import Broker, record


async def test_a_chunk_is_done_when_every_batch_is() -> None:
    """Its future waits for all partitions."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    chunk.append("a", 1, record())
    chunk.append("a", 1, record())
    sent = chunk.send()
    await broker.has_taken(2)
    broker.futures[1].set_result(broker.stored(70))
    await asyncio.sleep(0)
    assert not sent.done()
    broker.futures[0].set_result(broker.stored(30))
    await sent
    assert (chunk.records, chunk.base_offset("a", 0), chunk.base_offset("a", 1)) == (3, 30, 70)
    produced = [event for event in broker.events if isinstance(event, BatchProduced)]
    assert [(event.partition, event.records) for event in produced] == [(1, 2), (0, 1)]


async def test_a_record_goes_out_as_it_is() -> None:
    """Key, value, headers and time are those of the record; without a time it is the time of sending."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, OutRecord(b"k", b"v", (("h", b"\xff"), ("h", b"2")), timestamp_ms=1_700_000_000_000))
    chunk.append("a", 0, OutRecord(None, None))
    before_ms = time.time() * 1000
    chunk.send()
    await broker.has_taken(1)
    first, second = MemoryRecords(bytes(broker.taken[0][1]._build())).next_batch()
    assert (first.key, first.value, first.timestamp) == (b"k", b"v", 1_700_000_000_000)
    assert list(first.headers) == [("h", b"\xff"), ("h", b"2")]
    assert (second.key, second.value, list(second.headers)) == (None, None, [])
    assert second.timestamp >= before_ms - 1000


async def test_an_empty_chunk_is_done_at_once() -> None:
    """A webhook that causes nothing does not wait for a broker."""
    assert Broker().chunk().send().done()


async def test_a_chunk_is_sent_once() -> None:
    """Sending again would write everything twice."""
    chunk = Broker().chunk()
    chunk.send()
    with pytest.raises(DeliveryError, match="sent once"):
        chunk.send()


async def test_a_full_batch_is_followed_by_another() -> None:
    """A chunk larger than a batch becomes several, in order; the first one's offset is the chunk's."""
    broker = Broker()
    chunk = broker.chunk(batch_bytes=300)
    for _ in range(5):
        chunk.append("a", 0, record(100))
    sent = chunk.send()
    await broker.has_taken(3)
    for offset, future in zip((10, 12, 14), broker.futures, strict=True):
        future.set_result(broker.stored(offset))
    await sent
    assert [builder.record_count() for _, builder in broker.taken] == [2, 2, 1]
    assert chunk.base_offset("a", 0) == 10


async def test_a_record_that_is_too_large_is_refused_before_it_is_sent() -> None:
    """The chunk is as it was, and what comes after the record still goes out in order."""
    broker = Broker()
    chunk = broker.chunk(batch_bytes=1000, limit=1500)
    chunk.append("a", 0, record(10))
    with pytest.raises(RecordTooLargeError, match=r"of \d+ bytes .* too large for topic a, which takes 1500"):
        chunk.append("a", 0, record(1600))
    chunk.append("a", 0, record(1400))
    chunk.append("a", 0, record(10))
    with pytest.raises(RecordTooLargeError):
        chunk.append("a", 1, record(1600))
    chunk.send()
    await broker.has_taken(3)
    assert [(tp.partition, builder.record_count()) for tp, builder in broker.taken] == [(0, 1), (0, 1), (0, 1)]


async def test_an_answer_that_says_nothing_fails_the_chunk() -> None:
    """What cannot be read in a completion callback is an error of the chunk, which would wait for ever without it."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    sent = chunk.send()
    await broker.has_taken(1)
    broker.futures[0].set_result(None)
    with pytest.raises(BrokenSequenceError):
        await sent


async def test_many_at_once_are_as_one_by_one() -> None:
    """`extend` writes what appends would, over as many batches as it takes, and knows where they lie."""
    broker = Broker()
    chunk, other = broker.chunk(batch_bytes=300), broker.chunk(batch_bytes=300)
    pairs: list[tuple[bytes, bytes | None]] = [(b"k%d" % n, b"v" * 20 if n % 5 else None) for n in range(40)]
    headers = (("h", b"1"),)
    chunk.append("a", 0, OutRecord(b"first", b"1", headers))
    chunk.extend("a", 0, pairs, headers)
    other.append("a", 0, OutRecord(b"first", b"1", headers))
    for key, value in pairs:
        other.append("a", 0, OutRecord(key, value, headers))
    assert chunk.records == other.records == 41
    done = [chunk.send(), other.send()]
    await broker.has_taken(2 * len(chunk._parts["a", 0].builders))
    written = [[(r.key, r.value, r.headers) for r in _records(builder)] for _, builder in broker.taken]
    half = len(written) // 2
    assert half > 1
    assert written[:half] == written[half:]
    assert [key for batch in written[:half] for key, *_ in batch] == [b"first", *(key for key, _ in pairs)]
    offset = 7
    for future, (_, builder) in zip(broker.futures[:half], broker.taken[:half], strict=True):
        future.set_result(broker.stored(offset))
        offset += builder.record_count()
    await done[0]
    assert chunk.offsets("a", 0) == range(7, 48)


@pytest.mark.parametrize("second", [9, -1])
async def test_a_chunk_with_others_in_between_says_so(second: int) -> None:
    """Where somebody else wrote between two batches, or the broker does not say, there is no range."""
    broker = Broker()
    chunk = broker.chunk(batch_bytes=100)
    chunk.extend("a", 0, [(b"k", b"v" * 80), (b"k", b"v" * 80)], ())
    done = chunk.send()
    await broker.has_taken(2)
    broker.futures[0].set_result(broker.stored(7))
    broker.futures[1].set_result(broker.stored(second))
    await done
    assert chunk.offsets("a", 0) is None


def _records(builder: Any) -> list[Any]:
    batches = MemoryRecords(bytes(builder._build()))
    records = []
    while batches.has_next():
        records += list(batches.next_batch())
    return records
