"""Order, patience and failure of the outlets, with aiokafka's `send_batch` played by a function."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords
from faust.types import TP

from pipeline.errors import BrokenSequenceError, DeliveryError, RecordTooLargeError, TopicError
from pipeline.kafka.events import BatchProduced, ProducerEvent, ProduceStalled
from pipeline.kafka.producer import outgoing
from pipeline.kafka.producer.outgoing import OutgoingChunk, Outlet
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings


@dataclass
class Broker:
    """Takes batches as aiokafka does: a future each, which the test decides."""

    timeouts: int = 0
    taken: list[tuple[TP, Any]] = field(default_factory=list)
    futures: list[asyncio.Future[Any]] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    outlets: dict[TP, Outlet] = field(default_factory=dict)
    events: list[ProducerEvent] = field(default_factory=list)
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_batch(self, builder: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """A place in the queue, or a time-out."""
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        if self.timeouts:
            self.timeouts -= 1
            raise KafkaTimeoutError
        self.taken.append((TP(topic, partition), builder))
        self.futures.append(asyncio.get_running_loop().create_future())
        self.progress.set()
        return self.futures[-1]

    def outlet(self, topic: str, partition: int) -> Outlet:
        """The partition's outlet."""
        tp = TP(topic, partition)
        return self.outlets.setdefault(tp, Outlet(tp, self.send_batch, self.events.append))

    def chunk(self, batch_bytes: int = 1000, limit: int = 2000) -> OutgoingChunk:
        """An empty chunk."""
        return OutgoingChunk(lambda: BatchBuilder(batch_bytes, 0), self.outlet, {"a": limit})

    def stored(self, offset: int) -> Any:
        """The broker's answer."""
        return SimpleNamespace(offset=offset, timestamp=1_800_000_000_000, timestamp_type=1)

    async def has_taken(self, batches: int) -> None:
        """Wait until it took so many."""
        while len(self.taken) < batches:
            self.progress.clear()
            await self.progress.wait()


def record(size: int = 10) -> OutRecord:
    """A record with a value of `size` bytes."""
    return OutRecord(b"k", b"v" * size, (("h", b"1"),))


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


async def test_batches_of_a_partition_leave_in_the_order_of_sending() -> None:
    """Chunks sent without waiting keep their order, and only one batch at a time waits for a place."""
    broker = Broker()
    for number in range(5):
        chunk = broker.chunk()
        chunk.append("a", 0, OutRecord(None, b"%d" % number))
        chunk.send()
    await broker.has_taken(5)
    assert [bytes(builder._build())[-2:-1] for _, builder in broker.taken] == [b"0", b"1", b"2", b"3", b"4"]
    assert broker.most_waiting == 1


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


async def test_a_timeout_is_waited_out() -> None:
    """After a time-out, when nothing was enqueued, the same batch is offered again, and nothing overtakes it."""
    broker = Broker(timeouts=3)
    first, second = broker.chunk(), broker.chunk()
    first.append("a", 0, OutRecord(None, b"1"))
    second.append("a", 0, OutRecord(None, b"2"))
    first.send()
    second.send()
    await broker.has_taken(2)
    assert [bytes(builder._build())[-2:-1] for _, builder in broker.taken] == [b"1", b"2"]
    assert sum(isinstance(event, ProduceStalled) for event in broker.events) == 3


async def test_a_lost_batch_breaks_its_partition_for_good() -> None:
    """What follows in the partition fails at once and is never written; other partitions go on."""
    broker = Broker()
    lost, behind, later, other = (broker.chunk() for _ in range(4))
    lost.append("a", 0, record())
    behind.append("a", 0, record())
    lost_sent, behind_sent = lost.send(), behind.send()
    await broker.has_taken(2)
    broker.futures[0].set_exception(MessageSizeTooLargeError())
    with pytest.raises(BrokenSequenceError, match=r"a/0: a batch was not acknowledged \(MessageSizeTooLargeError"):
        await lost_sent
    broker.futures[1].set_result(broker.stored(5))  # the broker may have had it; nobody may rely on that
    await behind_sent
    later.append("a", 0, record())
    with pytest.raises(BrokenSequenceError):
        await later.send()
    other.append("a", 1, record())
    other.send()
    await broker.has_taken(3)
    assert broker.taken[2][0] == TP("a", 1)


async def test_a_permission_that_was_taken_away_says_so() -> None:
    """A refused topic is the operator's to repair, and is told apart from a broken sequence."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    sent = chunk.send()
    await broker.has_taken(1)
    broker.futures[0].set_exception(TopicAuthorizationFailedError("a"))
    with pytest.raises(TopicError, match="topic a cannot be written"):
        await sent


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


async def test_closing_fails_what_nobody_will_hear_of() -> None:
    """Batches in flight and in the queue end with an error that says that the producer stopped."""
    broker = Broker()
    chunks = [broker.chunk() for _ in range(3)]
    for chunk in chunks:
        chunk.append("a", 0, record())
    sent = [chunk.send() for chunk in chunks]
    await broker.has_taken(1)
    broker.outlet("a", 0).close()
    for future in sent:
        with pytest.raises(DeliveryError, match="stopped before a batch was acknowledged"):
            await future


async def test_an_observer_that_raises_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of a stall or of a durable batch, it neither breaks the partition's sequence nor holds the chunk back."""

    def broken(event: object) -> None:
        raise ZeroDivisionError(event)

    producer = BatchProducer(Settings.load(), [broken])
    broker = Broker(timeouts=1)
    monkeypatch.setattr(producer, "_started", lambda: broker)
    monkeypatch.setattr(broker, "create_batch", lambda: BatchBuilder(1000, 0), raising=False)
    chunk, behind = producer.chunk(), producer.chunk()
    for one in (chunk, behind):
        one.append("a", 0, record())
    sent = [chunk.send(), behind.send()]
    await broker.has_taken(2)
    for offset, future in enumerate(broker.futures):
        future.set_result(broker.stored(offset))
    await asyncio.gather(*sent)


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


async def test_a_batch_in_flight_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a partition confirms nothing and nobody waits for a place in it, its oldest batch is told, repeatedly."""
    monkeypatch.setattr(outgoing, "STALL_S", 0.001)
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    sent = chunk.send()
    while sum(isinstance(event, ProduceStalled) for event in broker.events) < 3:  # noqa: ASYNC110 - timers tell it
        await asyncio.sleep(0.001)
    broker.futures[0].set_result(broker.stored(0))
    await sent
    told = len(broker.events)
    await asyncio.sleep(0.02)
    assert broker.events[told:] == []


async def test_drained_waits_for_the_queue_and_the_flight() -> None:
    """Nothing is left when it returns."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    chunk.send()
    drained = asyncio.ensure_future(broker.outlet("a", 0).drained())
    await broker.has_taken(1)
    await asyncio.sleep(0)
    assert not drained.done()
    broker.futures[0].set_result(broker.stored(0))
    await drained


async def test_a_batch_that_lands_while_its_outlet_is_closed() -> None:
    """It failed for whoever waited, and its own answer a moment later is nobody's error."""
    broker = Broker()
    chunk = broker.chunk()
    chunk.append("a", 0, record())
    sent = chunk.send()
    await broker.has_taken(1)
    await asyncio.sleep(0)
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    broker.futures[0].set_result(broker.stored(0))
    broker.outlet("a", 0).close()
    await asyncio.sleep(0)
    assert unheard == []
    with pytest.raises(DeliveryError, match="stopped"):
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
