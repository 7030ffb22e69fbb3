"""From a poll to the agent's queue and back to the watermark, with polls and seeks that the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from mode.utils.queues import ThrowableQueue

from pipeline.errors import ContractViolationError
from pipeline.kafka.events import ChunkAcknowledged, ChunkDelivered, GapSeen, LogRestarted, SoughtBack
from pipeline.kafka.fetched import Fetched
from pipeline.kafka.worker.app import BatchApp
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.kafka.worker.consumer_thread import Starts
from pipeline.kafka.worker.done_ahead import DoneAhead, Witness
from pipeline.kafka.worker.transport import CHUNK_RECORDS, Consumer
from pipeline.settings import Settings

A = TP("webhooks", 0)
B = TP("webhooks", 1)


class Thread:
    """What the consumer asks of the driver's thread."""

    ended = False

    def __init__(self) -> None:
        self.sought: list[dict[TP, int]] = []
        self.ends: dict[TP, int] = {}
        self.readable: dict[TP, int] = {}
        self.passed: dict[TP, range] = {}
        self.committed: dict[TP, int] = {A: 0, B: 0}
        self.never: set[TP] = set()
        self.anew: dict[TP, int] = {}
        self.fetched: set[TP] = set()
        self.refused: dict[TP, int] = {}

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """The driver's position moves."""
        self.sought.append(dict(partitions))

    async def starts(self) -> Starts:
        """Where the partitions begin."""
        stored = {tp: None if tp in self.never else offset for tp, offset in self.committed.items()}
        return Starts(dict(self.committed), stored, dict(self.anew), {})

    def has_fetched(self, tp: TP) -> bool:
        """Whether records wait for the next poll."""
        return tp in self.fetched

    def end_offset(self, tp: TP) -> int | None:
        """The partition's end."""
        return self.ends.get(tp)

    def readable_end(self, tp: TP) -> int | None:
        """Where an open transaction begins, else the end."""
        return self.readable.get(tp, self.ends.get(tp))

    def passed_over(self, tp: TP) -> range | None:
        """What polls without records went past."""
        return self.passed.get(tp)


class Reader:
    """A consumer with an agent's queue behind it; nothing connects."""

    def __init__(self, app: BatchApp) -> None:
        self.app = app
        self.consumer = cast("Consumer", app.consumer)
        self.thread = Thread()
        self.consumer._thread = cast("Any", self.thread)
        self.queue: Any = ThrowableQueue(maxsize=4, flow_control=app.flow_control, clear_on_resume=True)
        channel = cast("Any", type("Channel", (), {"queue": self.queue})())
        for tp in (A, B):
            cast("Any", app.topics)._tp_index[tp] = {channel}
        self.events: list[Any] = []
        app.transport_observers.append(self.events.append)
        self.crashes: list[BaseException] = []
        cast("Any", app).crash_soon = self.crashes.append

    async def assigned(self, generation: int = 1) -> None:
        """Seek, then let the flow resume."""
        self.app.consumer_generation_id = generation
        await self.consumer.perform_seek()
        self.app.flow_control.resume()
        self.consumer.resume_flow()

    def suspended(self) -> None:
        """What Faust does first when partitions go."""
        self.consumer.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()

    async def poll(self, polled: Mapping[TP, list[ConsumerRecord[bytes, bytes]]]) -> None:
        """The drain loop's turn, with this poll."""

        async def scripted(_: float) -> tuple[Any, None]:
            return polled, None

        cast("Any", self.consumer)._wait_next_records = scripted
        assert [item async for item in self.consumer.getmany(1.0)] == []

    def received(self) -> list[RecordBatch]:
        """What the agent would take now."""
        batches = []
        while not self.queue.empty():
            batches.append(self.queue.get_nowait().value)
        return batches

    def told(self, kind: type) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def records(tp: TP, *offsets: int) -> list[ConsumerRecord[bytes, bytes]]:
    """Records as the driver brings them."""
    return [ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, b"k", b"v", None, 1, 1, ()) for offset in offsets]


def poll_of(tp: TP, start: int, stop: int, *offsets: int) -> Fetched:
    """Records as our unpacking brings them, with the offsets that they answer for."""
    found = Fetched(records(tp, *offsets))
    found.start, found.stop, found.odd = start, stop, False
    return found


def spans(batches: list[RecordBatch]) -> list[tuple[int, int, int]]:
    """Partition and offsets of each batch."""
    return [(batch.partition, batch.first_offset, batch.last_offset) for batch in batches]


@pytest.fixture
async def reader(tmp_path: Path) -> Reader:
    """A reader of two partitions, not assigned yet."""
    settings = Settings.load(data_dir=tmp_path)
    return Reader(BatchApp("group", settings=settings, batch_topics=["webhooks"], stage="transform"))


async def test_each_partition_of_a_poll_is_one_batch(reader: Reader) -> None:
    """Everything that the poll brought, with the generation and the partition's end."""
    reader.thread.ends = {A: 10, B: 4}
    await reader.assigned(generation=7)
    await reader.poll({A: records(A, 0, 1, 2), B: records(B, 0)})
    batches = reader.received()
    assert spans(batches) == [(0, 0, 2), (1, 0, 0)]
    assert {batch.generation for batch in batches} == {7}
    assert [(event.records, event.end_offset) for event in reader.told(ChunkDelivered)] == [(3, 10), (1, 4)]


async def test_a_large_poll_is_cut(reader: Reader) -> None:
    """No batch holds the loop for longer than its bound of records."""
    await reader.assigned()
    await reader.poll({A: records(A, *range(CHUNK_RECORDS + 5))})
    assert spans(reader.received()) == [(0, 0, CHUNK_RECORDS - 1), (0, CHUNK_RECORDS, CHUNK_RECORDS + 4)]


async def test_a_resume_delivers_from_the_committed_offset_on(reader: Reader) -> None:
    """The record at the committed offset comes, those before it do not, and offset 0 is sought too."""
    reader.thread.committed = {A: 105, B: 0}
    await reader.assigned()
    assert reader.thread.sought == [{A: 105, B: 0}]
    await reader.poll({A: records(A, 103, 104, 105, 106), B: records(B, 0)})
    assert spans(reader.received()) == [(0, 105, 106), (1, 0, 0)]


async def test_a_poll_that_ran_ahead_is_read_again(reader: Reader) -> None:
    """A gap is sought once; when it is still there it is real, and the watermark passes it."""
    await reader.assigned()
    await reader.poll({A: records(A, 5, 6)})
    assert reader.received() == []
    assert reader.thread.sought[1:] == [{A: 0}]
    await reader.poll({A: records(A, 5, 6)})
    (batch,) = reader.received()
    batch.done()
    assert reader.consumer.watermarks.committable() == {A: 7}
    assert reader.told(SoughtBack) == [SoughtBack("webhooks", 0, 0)]
    assert reader.told(GapSeen) == [GapSeen("webhooks", 0, 0, 5)]


async def test_a_log_that_was_emptied_is_a_loss_without_a_record_to_show_it(reader: Reader) -> None:
    """It is told once, when nothing of it is in hand any more, and committed over."""
    reader.thread.committed = {A: 4, B: 9}
    await reader.assigned()
    reader.thread.fetched = {A}
    reader.consumer.emptied({A: 7, B: 9})
    await reader.poll({})
    assert reader.told(GapSeen) == []  # what was fetched comes first
    reader.thread.fetched = set()
    await reader.poll({A: records(A, 4, 5)})
    reader.consumer.emptied({A: 7})
    await reader.poll({})
    assert reader.told(GapSeen) == [GapSeen("webhooks", 0, 6, 7)]
    (batch,) = reader.received()
    batch.done()
    assert reader.consumer.watermarks.committable() == {A: 7}
    reader.consumer.emptied({A: 7})
    await reader.poll({})
    assert len(reader.told(GapSeen)) == 1


async def test_a_partition_that_was_never_committed_is_at_once(reader: Reader) -> None:
    """Where it begins is what its later losses are counted from."""
    reader.thread.never = {B}
    await reader.assigned()
    assert reader.consumer.watermarks.committable() == {B: 0}


async def test_a_poll_that_comes_while_nothing_flows_is_read_again(reader: Reader) -> None:
    """A poll between the seek and the resume moved the driver's position; no later record needs to show the gap."""
    reader.suspended()
    reader.app.consumer_generation_id = 1
    await reader.consumer.perform_seek()
    await reader.poll({A: records(A, 0, 1)})
    reader.app.flow_control.resume()
    reader.consumer.resume_flow()
    await reader.poll({})
    assert reader.thread.sought[1:] == [{A: 0}]
    await reader.poll({})
    assert len(reader.thread.sought) == 2
    await reader.poll({A: records(A, 0, 1)})
    assert spans(reader.received()) == [(0, 0, 1)]


async def test_a_poll_that_comes_before_the_position_is_known_is_read_again(reader: Reader) -> None:
    """A worker that had no partitions keeps polling: what it gets of a new one before the seek is not lost."""
    await reader.poll({A: records(A, 0, 1)})
    await reader.assigned()
    await reader.poll({})
    assert reader.thread.sought[1:] == [{A: 0}]


async def test_what_the_client_passed_over_costs_nothing(reader: Reader) -> None:
    """Markers and aborted transactions between records: no seek, no gap that anybody counts, everything committed."""
    await reader.assigned()
    await reader.poll({A: poll_of(A, 0, 8, 3, 5)})
    await reader.poll({A: poll_of(A, 8, 12, 11)})
    first, second = reader.received()
    assert spans([first, second]) == [(0, 3, 5), (0, 11, 11)]
    assert reader.consumer.watermarks.committable() == {}
    first.done()
    assert reader.consumer.watermarks.committable() == {A: 8}
    second.done()
    assert reader.consumer.watermarks.committable() == {A: 12}
    assert reader.thread.sought == [{A: 0, B: 0}]  # the assignment's
    assert reader.told(GapSeen) == []


async def test_a_poll_that_gave_nothing_is_committed(reader: Reader) -> None:
    """What an aborted transaction left at the end of the log must not look like records that wait."""
    await reader.assigned()
    await reader.poll({A: records(A, 0, 1)})
    reader.thread.passed = {A: range(2, 9)}
    await reader.poll({})
    (batch,) = reader.received()
    assert reader.consumer.watermarks.committable() == {}
    batch.done()
    assert reader.consumer.watermarks.committable() == {A: 9}
    assert reader.told(ChunkAcknowledged)[-1].next_offset == 9
    await reader.poll({A: poll_of(A, 2, 11, 9, 10)})
    assert spans(reader.received()) == [(0, 9, 10)]
    assert reader.thread.sought == [{A: 0, B: 0}]  # the assignment's


async def test_a_poll_that_gave_nothing_behind_one_that_was_dropped(reader: Reader) -> None:
    """The dropped one's records are read again; nothing is committed past them."""
    await reader.assigned()
    reader.suspended()
    await reader.poll({A: records(A, 0, 1)})
    reader.thread.passed = {A: range(2, 9)}
    await reader.assigned()
    await reader.poll({})
    assert reader.consumer.watermarks.committable() == {}
    assert reader.thread.sought[-1] == {A: 0}
    await reader.poll({A: poll_of(A, 0, 9, 0, 1)})
    (batch,) = reader.received()
    batch.done()
    assert reader.consumer.watermarks.committable() == {A: 9}


async def test_what_gave_nothing_counts_once(reader: Reader) -> None:
    """The log may be another one when the same offsets come again, with records."""
    await reader.assigned()
    reader.thread.passed = {A: range(4)}
    await reader.poll({})
    assert reader.consumer.positions.wanted(A) == 4
    reader.thread.ends = {A: 2}
    await reader.poll({A: poll_of(A, 0, 2, 0, 1)})
    assert reader.told(LogRestarted) == [LogRestarted("webhooks", 0, 4, 0)]
    await reader.poll({A: poll_of(A, 2, 3, 2)})
    assert spans(reader.received()) == [(0, 0, 1), (0, 2, 2)]


async def test_an_open_transaction_is_no_backlog(reader: Reader) -> None:
    """What lies behind it cannot be read: neither the agent nor whoever judges progress waits for it."""
    reader.thread.ends, reader.thread.readable = {A: 500}, {A: 2}
    await reader.assigned()
    await reader.poll({A: records(A, 0, 1)})
    (batch,) = reader.received()
    assert batch.behind == 0
    assert [event.end_offset for event in reader.told(ChunkDelivered)] == [2]


async def test_partitions_that_went_are_not_sought(reader: Reader) -> None:
    """A dropped poll of a partition that somebody else got is nobody's concern."""
    await reader.poll({B: records(B, 0)})
    reader.thread.committed = {A: 0}
    await reader.assigned()
    await reader.poll({})
    assert reader.thread.sought == [{A: 0}]


async def test_a_full_queue_waits_for_room(reader: Reader) -> None:
    """The poll goes on as the agent takes chunks, in order."""
    await reader.assigned()
    polling = asyncio.ensure_future(reader.poll({A: records(A, *range(6 * CHUNK_RECORDS))}))
    got = [(await reader.queue.get()).value for _ in range(6)]
    await polling
    assert [batch.first_offset for batch in got] == [CHUNK_RECORDS * number for number in range(6)]


async def test_a_put_that_the_end_of_the_flow_prevents_did_not_happen(reader: Reader) -> None:
    """Position and watermark stay where they were: the chunk comes again."""
    await reader.assigned()
    polling = asyncio.ensure_future(reader.poll({A: records(A, *range(6 * CHUNK_RECORDS))}))
    for _ in range(20):  # turns of the loop
        await asyncio.sleep(0)
    assert reader.queue.full()
    assert not polling.done()
    reader.suspended()
    await polling
    assert reader.consumer.positions.wanted(A) == 4 * CHUNK_RECORDS
    assert reader.consumer.watermarks.unfinished == 4
    assert reader.queue.empty()


async def test_a_topic_that_was_made_anew_is_read_from_its_start(reader: Reader) -> None:
    """Its records are below the committed offset, and its end too: they are delivered and can be committed."""
    reader.thread.committed = {A: 500, B: 0}
    reader.thread.ends = {A: 2}
    await reader.assigned()
    await reader.poll({A: records(A, 0, 1)})
    (batch,) = reader.received()
    batch.done()
    assert reader.consumer.watermarks.committable() == {A: 2}
    assert reader.told(LogRestarted) == [LogRestarted("webhooks", 0, 500, 0)]


async def test_a_log_that_was_cut_and_grew_back_is_read_from_its_start_once(reader: Reader) -> None:
    """What lies below the refused offset is delivered; once that is read, a late poll of it is none of a new log."""
    reader.thread.committed = {A: 3, B: 0}
    reader.thread.ends = {A: 4}
    await reader.assigned()
    reader.thread.refused[A] = 3
    await reader.poll({A: records(A, 0, 1)})
    await reader.poll({A: records(A, 2, 3)})
    await reader.poll({A: records(A, 0, 1)})
    assert [(batch.first_offset, len(batch)) for batch in reader.received()] == [(0, 2), (2, 2)]
    assert reader.told(LogRestarted) == [LogRestarted("webhooks", 0, 3, 0)]


async def test_what_was_refused_before_an_assignment_is_no_news(reader: Reader) -> None:
    """Where an assignment begins, what the brokers have committed for the group decides."""
    reader.thread.refused[A] = 500
    reader.thread.committed = {A: 400, B: 0}
    reader.thread.ends = {A: 600}
    await reader.assigned()
    await reader.poll({A: records(A, 0, 1)})
    assert reader.received() == []


async def test_an_acknowledgement_of_an_older_generation_is_ignored(reader: Reader) -> None:
    """The partition may be another's by now."""
    await reader.assigned(generation=1)
    await reader.poll({A: records(A, 0, 1)})
    await reader.poll({A: records(A, 2, 3)})
    first, second = reader.received()
    reader.suspended()
    await reader.assigned(generation=2)
    second.done()  # even out of order
    first.done()
    assert reader.consumer.watermarks.committable() == {}
    assert reader.crashes == []
    assert reader.told(ChunkAcknowledged) == []


async def test_an_acknowledgement_over_an_unfinished_chunk_crashes_the_worker(reader: Reader) -> None:
    """The caller gets the error, the worker ends even if the caller swallows it, and nothing is committed."""
    await reader.assigned()
    await reader.poll({A: records(A, 0, 1)})
    await reader.poll({A: records(A, 2, 3)})
    _, second = reader.received()
    with pytest.raises(ContractViolationError, match="offset 3 was acknowledged while the chunk 0-1 is not done"):
        second.done()
    assert [type(error) for error in reader.crashes] == [ContractViolationError]
    assert reader.consumer.watermarks.committable() == {}


async def test_what_was_done_before_is_not_delivered(reader: Reader) -> None:
    """Wherever it lies in a poll; the records around it come, and the position moves past it."""
    await reader.assigned()
    watermark = reader.consumer.watermarks.of(A)
    watermark.inherited = DoneAhead(0, 0b1110011, Witness(6, 0))
    await reader.poll({A: poll_of(A, 0, 2, 0, 1)})
    await reader.poll({A: poll_of(A, 2, 5, 2, 3, 4)})
    await reader.poll({A: poll_of(A, 5, 8, 5, 6, 7)})
    batches = reader.received()
    assert spans(batches) == [(0, 2, 3), (0, 7, 7)]
    for batch in batches:
        batch.done()
    assert reader.consumer.watermarks.committable()[A] == 8
    assert reader.told(GapSeen) == reader.told(SoughtBack) == []
