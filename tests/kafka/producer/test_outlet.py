"""Order, patience and failure of the outlets, with aiokafka's `send_batch` played by a function."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from pipeline.errors import BrokenSequenceError, DeliveryError, TopicError
from pipeline.kafka.events import ProduceStalled
from pipeline.kafka.producer import outlet
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests.kafka.producer.batches import Broker, record


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


async def test_a_batch_in_flight_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a partition confirms nothing and nobody waits for a place in it, its oldest batch is told, repeatedly."""
    monkeypatch.setattr(outlet, "STALL_S", 0.001)
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
