"""One record at a time into aiokafka's own accumulator: order, room, and who hears of what; its sender is played."""

from __future__ import annotations

import asyncio
import math
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    UnknownTopicOrPartitionError,
)
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.record import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.producer.appending import Appender
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import OutRecord
from pipeline.tasks import Tasks

LARGEST = 100_000


@dataclass(eq=False)
class Asker:
    """Waits for a record."""

    number: int
    ended: bool = False
    heard: list[BaseException | None] = field(default_factory=list)


class Rig:
    """An appender over aiokafka's accumulator; the test is the sender and the cluster."""

    def __init__(self, partitions: int = 1, batch_bytes: int = 2000) -> None:
        self.partitions: int | None = partitions
        self.listeners: list[Any] = []
        cluster = SimpleNamespace(
            partitions_for_topic=lambda _: self._numbers(),
            leader_for_partition=lambda _: 1,
            add_listener=self.listeners.append,
        )
        self.accumulator = MessageAccumulator(cluster, batch_bytes, 0, math.inf, loop=asyncio.get_running_loop())
        self.unknown: BaseException | None = None
        self.asked = asyncio.Event()
        self.asked.set()
        self.producer: Any = SimpleNamespace(
            _message_accumulator=self.accumulator,
            _max_request_size=LARGEST,
            client=SimpleNamespace(cluster=cluster),
            create_batch=self.accumulator.create_builder,
            partitions_for=self._partitions_for,
        )
        self.unplaced: list[tuple[list[int], BaseException]] = []
        self.tasks = Tasks()
        self.appender: Appender[Asker] = Appender(self.producer, self._landed, self._unplaced, self.tasks)
        self.askers: list[Asker] = []

    def _numbers(self) -> set[int] | None:
        return None if self.partitions is None else set(range(self.partitions))

    async def _partitions_for(self, _topic: str) -> set[int] | None:
        await self.asked.wait()
        if self.unknown is not None:
            raise self.unknown
        return self._numbers()

    def _landed(self, waiters: Any, placed: Any, error: BaseException | None) -> None:
        assert (placed is None) == (error is not None)
        for one in waiters:
            one.heard.append(error)

    def _unplaced(self, waiters: Any, error: BaseException) -> None:
        self.unplaced.append(([one.number for one in waiters], error))

    def put(self, size: int = 100, key: bytes = b"k") -> Asker:
        """A record whose value begins with its number."""
        asker = Asker(len(self.askers))
        self.askers.append(asker)
        value = b"%d " % asker.number
        self.appender.put("a", OutRecord(key, value + b"x" * (size - len(value)), (("h", b"1"),)), asker)
        return asker

    def drain(self, partition: int = 0) -> Any:
        """The sender takes the partition's next batch."""
        return self.accumulator._pop_batch(TopicPartition("a", partition))

    @staticmethod
    def numbers(batch: Any) -> list[int]:
        """Of the records that leave with the batch."""
        records = MemoryRecords(bytes(batch.get_data_buffer())).next_batch()
        return [int(record.value.split()[0]) for record in records]


async def turns() -> None:
    """Let callbacks run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def known(rig: Rig) -> Rig:
    """After the topic's partitions were learnt."""
    rig.put()
    await turns()
    rig.drain().done(0)
    await turns()
    assert rig.askers[0].heard == [None]
    return rig


async def test_a_batch_tells_all_who_wait_for_it() -> None:
    """Records that come before the sender does leave together, in order, and each is told once."""
    rig = await known(Rig())
    first, second, third = rig.put(), rig.put(), rig.put()
    batch = rig.drain()
    assert rig.numbers(batch) == [1, 2, 3]
    assert not first.heard
    batch.done(7)
    await turns()
    assert first.heard == second.heard == third.heard == [None]


async def test_a_record_is_what_was_put() -> None:
    """Key, value, headers and time arrive as they were."""
    rig = await known(Rig())
    rig.appender.put("a", OutRecord(b"key", b"5 v", (("h", b"1"), ("h", b"\xff")), 1_700_000_000_000), Asker(5))
    [record] = MemoryRecords(bytes(rig.drain().get_data_buffer())).next_batch()
    assert (record.key, record.value, record.timestamp) == (b"key", b"5 v", 1_700_000_000_000)
    assert list(record.headers) == [("h", b"1"), ("h", b"\xff")]


async def test_a_batch_that_was_taken_gets_nothing_more() -> None:
    """Its place in the sequence is counted by then: one record more would be lost."""
    rig = await known(Rig())
    rig.put()
    taken = rig.drain()
    rig.put()
    assert rig.numbers(taken) == [1]
    assert rig.numbers(rig.drain()) == [2]


async def test_without_room_records_wait_outside() -> None:
    """A full batch is not followed by another one before it has left; then they go, in order, but for who gave up."""
    rig = await known(Rig())
    rig.put(1500)
    rig.put(1500)
    gone = rig.put(100)
    rig.put(100)
    gone.ended = True
    full = rig.drain()
    await turns()
    later = rig.put(100)
    following = rig.drain()
    assert (rig.numbers(full), rig.numbers(following)) == ([1], [2, 4, 5])
    following.done(9)
    await turns()
    assert (later.heard, gone.heard) == ([None], [])


async def test_an_outage_keeps_nothing_of_those_who_gave_up() -> None:
    """While nothing leaves, records come and are given up for hours: none of them stays in memory."""
    rig = await known(Rig())
    rig.put(1900)
    alive: list[weakref.ref[Asker]] = []
    for _ in range(200):
        asker = rig.put(500)
        alive.append(weakref.ref(asker))
        asker.ended = True
        del asker
        rig.askers.pop()
    assert sum(one() is not None for one in alive) < 3
    last = rig.put(50)
    rig.drain().done(1)
    await turns()
    rig.drain().done(2)
    await turns()
    assert last.heard == [None]


async def test_records_come_behind_a_batch_that_is_sent_again() -> None:
    """One that failed for now keeps its records and its place: what came later does not overtake it."""
    rig = await known(Rig())
    rig.put()
    taken = rig.drain()
    rig.numbers(taken)  # it was written to a connection that broke
    rig.accumulator.reenqueue(taken)
    rig.put()
    await turns()
    again = rig.drain()
    assert again is taken
    await turns()
    assert rig.numbers(rig.drain()) == [2]


async def test_a_batch_that_failed_tells_why() -> None:
    """Each of its records is told of the error, those of other batches are not."""
    rig = await known(Rig())
    lost = rig.put()
    batch = rig.drain()
    other = rig.put()
    batch.failure(OutOfOrderSequenceNumber())
    await turns()
    assert [type(error) for error in lost.heard] == [OutOfOrderSequenceNumber]
    assert other.heard == []


async def test_nothing_goes_into_a_producer_that_is_dead() -> None:
    """Neither into one that is closed, nor into one whose sender ended; and those who waited for room are told."""
    rig = await known(Rig())
    rig.put(1500)
    rig.put(1500)
    rig.accumulator.fail_all(KafkaError("the sender ended"))
    await turns()
    assert [(numbers, str(error)) for numbers, error in rig.unplaced] == [([2], "KafkaError: the sender ended")]
    with pytest.raises(KafkaError, match="sender ended"):
        rig.put()
    rig.accumulator._exception = None
    rig.accumulator._closed = True
    with pytest.raises(ProducerClosed):
        rig.put()


async def test_whoever_has_no_place_at_the_end_is_named() -> None:
    """Closing hands back those whose records are in no batch; those in a batch still hear of it."""
    rig = await known(Rig())
    placed = rig.put(1500)
    outside = rig.put(1500)
    assert rig.appender.close() == [outside]
    rig.drain().done(1)
    await turns()
    assert (placed.heard, outside.heard) == ([None], [])
    with pytest.raises(ProducerClosed):
        rig.put()


async def test_a_record_that_is_too_large_is_refused_before_it_breaks_anything() -> None:
    """The broker would refuse the batch, and the sequence would be broken for all."""
    rig = await known(Rig())
    with pytest.raises(MessageSizeTooLargeError):
        rig.put(LARGEST)
    assert rig.put().number in rig.numbers(rig.drain())


async def test_partitions_are_learnt_once() -> None:
    """What comes meanwhile goes where it belongs afterwards, but for who gave up."""
    rig = Rig(partitions=3)
    rig.asked.clear()
    askers = [rig.put(key=b"%d" % number) for number in range(20)]
    askers[3].ended = True
    rig.asked.set()
    await turns()
    found = {partition: rig.numbers(rig.drain(partition)) for partition in range(3)}
    assert found == {
        partition: [number for number in range(20) if number != 3 and partition_of(b"%d" % number, 3) == partition]
        for partition in range(3)
    }


@pytest.mark.parametrize("error", [UnknownTopicOrPartitionError(), KafkaConnectionError(), OSError(), ValueError()])
async def test_a_topic_of_which_nothing_is_known(error: BaseException) -> None:
    """Those who wait are told, and the next record asks again."""
    rig = Rig()
    rig.unknown = error
    rig.put()
    rig.put()
    await turns()
    assert rig.unplaced == [([0, 1], error)]
    rig.unknown = None
    rig.put()
    await turns()
    assert rig.numbers(rig.drain()) == [2]
    await rig.tasks.stop()


async def test_partitions_follow_the_metadata() -> None:
    """A topic that grew is written as Java's producer would; one that has gone is asked for again."""
    rig = await known(Rig())
    rig.partitions = 12
    for hear in rig.listeners:
        hear(rig.accumulator._cluster)
    rig.put(key=b"somebody")
    assert rig.numbers(rig.drain(partition_of(b"somebody", 12))) == [1]
    rig.partitions = None
    for hear in rig.listeners:
        hear(rig.accumulator._cluster)
    rig.unknown = UnknownTopicOrPartitionError()
    rig.put()
    await turns()
    assert rig.unplaced == [([2], rig.unknown)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(20, 1900)),
        st.tuples(st.just("put"), st.integers(20, 200)),
        st.tuples(st.sampled_from(["drain", "done", "again", "turns"]), st.just(0)),
        st.tuples(st.just("gives up"), st.integers(0, 60)),
    ),
    max_size=60,
)


@given(steps)
def test_every_record_leaves_once_and_in_order(script: list[tuple[str, int]]) -> None:
    """Whatever happens in which order: as put, each but those of askers who gave up before; each hears what befell."""
    asyncio.run(_play(script))


async def _play(script: list[tuple[str, int]]) -> None:
    rig = await known(Rig())
    taken: list[Any] = []
    written: list[int] = []
    gave_up: set[int] = set()

    async def finish() -> None:
        if taken:
            taken.pop().done(len(written))
            await turns()

    async def drain() -> None:
        if not taken and rig.accumulator._batches:  # one in flight a partition, as the sender has it
            taken.append(rig.drain())
            written.extend(number for number in rig.numbers(taken[0]) if number not in written)
            await turns()

    for step, figure in script:
        match step:
            case "put":
                rig.put(figure)
            case "drain":
                await drain()
            case "done":
                await finish()
            case "again" if taken:
                rig.accumulator.reenqueue(taken.pop())
            case "gives up" if figure < len(rig.askers) and not rig.askers[figure].heard:
                rig.askers[figure].ended = True
                gave_up.add(figure)
            case _:
                await turns()
    while rig.accumulator._batches or taken:
        await finish()
        await drain()
    assert written == sorted(set(written))
    assert set(written) | {0} | gave_up == {asker.number for asker in rig.askers}
    for asker in rig.askers[1:]:
        assert asker.heard == [None] * (asker.number in written)
    assert not rig.unplaced
