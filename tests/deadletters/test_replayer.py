"""Chunk after chunk: durable, noted, and only then the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.deadletters.letter import Letter
from pipeline.deadletters.receipts import read_receipt
from pipeline.deadletters.replay import ReplayRecord, Targets, decide
from pipeline.deadletters.replayer import CHUNK_BYTES, Clocks, Replayer
from pipeline.errors import DeliveryError, RecordTooLargeError, TopicError
from pipeline.kafka.records import OutRecord

DEAD = "dead"
PARTITIONS = {DEAD: 1, "webhooks": 4, "operations": 4}


@dataclass
class Chunk:
    """What would go out together."""

    producer: FakeProducer
    records: list[tuple[str, int, OutRecord]] = field(default_factory=list)

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Keep it, unless it is said to be too large."""
        if record.value == b"too large":
            raise RecordTooLargeError("a record is too large for topic webhooks")
        self.records.append((topic, partition, record))

    async def send(self) -> None:
        """Durable when the test says so."""
        self.producer.log.append(("sending", self.records))
        await self.producer.on_send(self)
        self.producer.log.append(("durable", self.records))


async def at_once(_chunk: Chunk) -> None:
    """Brokers that answer."""


@dataclass
class FakeProducer:
    """Brokers in the hand of the test."""

    on_send: Callable[[Chunk], Any] = at_once
    log: list[tuple[str, list[tuple[str, int, OutRecord]]]] = field(default_factory=list)

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """Stands for murmur2."""
        return len(key or b"") % PARTITIONS[topic]

    def chunk(self) -> Chunk:
        """A new chunk."""
        return Chunk(self)

    def sent(self, topic: str) -> list[tuple[int, OutRecord]]:
        """What became durable in `topic`, in order."""
        return [
            (partition, record)
            for what, records in self.log
            if what == "durable"
            for found, partition, record in records
            if found == topic
        ]


@dataclass
class FakeClock:
    """Time passes only where it is waited for."""

    now_s: float = 100.0
    waits: list[float] = field(default_factory=list)

    async def pause(self, _stopping: asyncio.Event, seconds: float) -> None:
        """Wait at once."""
        self.waits.append(seconds)
        self.now_s += seconds

    @property
    def clocks(self) -> Clocks:
        """As the replayer takes it."""
        return Clocks(lambda: self.now_s, lambda: int(self.now_s * 1000), self.pause)


async def returns(make: Any, values: list[bytes], **about: Any) -> AsyncIterator[tuple[Letter, ReplayRecord]]:
    """Letters on their way back."""
    for number, value in enumerate(values):
        record, letter = make(0, number, value=value, source=f"webhooks/2/{number}", **about)
        back = decide(record, letter, Targets("webhooks", "operations"), max_replays=3)
        assert isinstance(back, ReplayRecord)
        yield letter, back


def replayer_of(
    producer: FakeProducer, rate: float = 1_000_000.0, clock: FakeClock | None = None, **more: Any
) -> Replayer:
    """A replayer between fakes."""
    clocks = (clock or FakeClock()).clocks
    return Replayer(producer, DEAD, partitions=PARTITIONS, per_second=rate, clocks=clocks, **more)


def numbers(count: int) -> list[bytes]:
    """Distinct values."""
    return [b"%d" % number for number in range(count)]


async def test_noted_before_the_next_chunk(make: Any) -> None:
    """Each chunk is durable before its receipt goes, and the receipt before the next chunk."""
    producer = FakeProducer()
    told: list[int] = []
    replayer = replayer_of(producer, 20, told=told.append)
    await replayer.run(returns(make, numbers(5)))
    steps = [(what, [topic for topic, _, _ in records]) for what, records in producer.log]
    one = [("sending", ["webhooks"] * 2), ("durable", ["webhooks"] * 2), ("sending", [DEAD]), ("durable", [DEAD])]
    last = [("sending", ["webhooks"]), ("durable", ["webhooks"]), ("sending", [DEAD]), ("durable", [DEAD])]
    assert steps == [*one, *one, *last]
    assert [record.value for _, record in producer.sent("webhooks")] == numbers(5)
    assert (replayer.put_back, replayer.in_flight, told) == (5, 0, [2, 4, 5])


async def test_receipts_name_what_went(make: Any, lying: Any) -> None:
    """The receipts name every letter once, by its identity."""
    producer = FakeProducer()
    await replayer_of(producer, 30).run(returns(make, numbers(7)))
    named = [
        identity
        for _, record in producer.sent(DEAD)
        for identity in read_receipt(lying(value=record.value, headers=record.headers)) or ()
    ]
    assert named == [letter.identity async for letter, _ in returns(make, numbers(7))]


async def test_partitions(make: Any) -> None:
    """A key decides; without one the partition that the record came from, as long as the topic has it."""
    producer = FakeProducer()
    await replayer_of(producer).run(returns(make, [b"keyed"], key=b"12345"))
    await replayer_of(producer).run(returns(make, [b"keyless"], key=None))
    small = Replayer(producer, DEAD, partitions=PARTITIONS | {"webhooks": 2}, per_second=1e6, clocks=FakeClock().clocks)
    await small.run(returns(make, [b"shrunk"], key=None))
    assert [(partition, record.value) for partition, record in producer.sent("webhooks")] == [
        (1, b"keyed"),
        (2, b"keyless"),
        (0, b"shrunk"),
    ]


async def test_rate(make: Any) -> None:
    """100 letters at 20 a second, two by two, go within 4.9 s of a clock that only waiting moves."""
    producer, clock = FakeProducer(), FakeClock()
    await replayer_of(producer, 20, clock).run(returns(make, numbers(100)))
    assert clock.now_s - 100 == pytest.approx(4.9)
    assert clock.waits == pytest.approx([0.0] + [0.1] * 49)


async def test_bytes_bound_a_chunk(make: Any) -> None:
    """Large letters go in smaller chunks than small ones."""
    producer = FakeProducer()
    await replayer_of(producer).run(returns(make, [b"x" * (CHUNK_BYTES // 2)] * 3))
    assert [len(records) for what, records in producer.log if what == "sending"] == [2, 1, 1, 1]


async def test_too_large(make: Any) -> None:
    """A letter that its topic cannot hold is told and not noted; the others go."""
    producer = FakeProducer()
    replayer = replayer_of(producer)
    await replayer.run(returns(make, [b"a", b"too large", b"b"]))
    assert [record.value for _, record in producer.sent("webhooks")] == [b"a", b"b"]
    assert replayer.put_back == 2
    [failure] = replayer.failures
    assert (str(failure.letter.place), "too large" in failure.reason) == ("0/1", True)


async def test_a_chunk_of_failures_is_not_noted(make: Any) -> None:
    """Nothing sent, nothing written."""
    producer = FakeProducer()
    await replayer_of(producer).run(returns(make, [b"too large"]))
    assert producer.log == []


async def test_stop_waits_for_what_is_on_its_way(make: Any) -> None:
    """After a stop in the middle of a chunk that chunk becomes durable and is noted, and no other one goes."""
    going = asyncio.Event()

    async def slowly(chunk: Chunk) -> None:
        if chunk.records[0][0] == "webhooks":
            replayer.stop()
            assert replayer.in_flight == 2
            going.set()
            await asyncio.sleep(0)

    producer = FakeProducer(slowly)
    replayer = replayer_of(producer, 20)
    await replayer.run(returns(make, numbers(10)))
    assert going.is_set()
    assert [record.value for _, record in producer.sent("webhooks")] == numbers(2)
    assert (replayer.put_back, replayer.in_flight, replayer.stopped) == (2, 0, True)
    assert len(producer.sent(DEAD)) == 1


async def test_stop_ends_a_pause(make: Any) -> None:
    """At a letter an hour nobody waits an hour for Ctrl-C."""
    producer = FakeProducer()
    replayer = Replayer(producer, DEAD, partitions=PARTITIONS, per_second=1 / 3600, told=lambda _: replayer.stop())
    async with asyncio.timeout(300):
        await replayer.run(returns(make, numbers(3)))
    assert replayer.put_back == 1


async def test_a_chunk_that_fails(make: Any) -> None:
    """The error ends it; what was noted counts, what was on its way is told as in doubt."""

    async def second_fails(chunk: Chunk) -> None:
        if chunk.records[0][2].value == b"2":
            raise TopicError("topic webhooks cannot be written")

    producer = FakeProducer(second_fails)
    replayer = replayer_of(producer, 20)
    with pytest.raises(TopicError):
        await replayer.run(returns(make, numbers(6)))
    assert (replayer.put_back, replayer.in_flight) == (2, 2)
    assert [record.value for _, record in producer.sent("webhooks")] == numbers(2)


async def test_a_receipt_that_fails(make: Any) -> None:
    """Letters that are back without a note are told so, since the same command would repeat them."""

    async def no_receipts(chunk: Chunk) -> None:
        if chunk.records[0][0] == DEAD:
            raise TopicError("topic dead cannot be written")

    replayer = replayer_of(FakeProducer(no_receipts))
    with pytest.raises(DeliveryError, match=r"3 letters are back .* a second time: topic dead cannot be written"):
        await replayer.run(returns(make, numbers(3)))
    assert (replayer.put_back, replayer.in_flight) == (0, 3)
