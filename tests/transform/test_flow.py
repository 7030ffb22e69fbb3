"""Chunks flow through in order, within bounds, and none is acknowledged too early."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline.errors import BrokenSequenceError, DeliveryError, RecordTooLargeError
from pipeline.kafka.records import OutRecord, text_header
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.transform import flow as flow_module
from pipeline.transform.chunk_stats import ChunkTransformed
from pipeline.transform.decision import Decision
from pipeline.transform.flow import MAX_BYTES, MAX_CHUNKS, Flow
from pipeline.transform.spans import RecordSpans
from pipeline.transform.verdicts import DeadLettered, Dropped, MappedOperation, Operations, SentOn
from pipeline.transform.webhook import Reading
from tests.records import Consumed
from tests.telemetry.keeping import KEPT, NOT_KEPT, TRACE_ID, Keeping

OPERATIONS, DEAD_LETTERS = "operations", "dead-letters"


consumed = partial(Consumed, key=b"cus_1", topic="webhooks", timestamp=1)
"""A record as a consumer hands it out."""


def decide(reading: Reading, _store: object = None) -> Decision:
    """`drop` and `bad` say what they become; anything else is an identify and an event of the record's key.

    `gone` is about `cus_3` besides.

    `share` has a command with it; `ann` and `bea` are customers of one address.
    """
    record = reading.record
    assert record is not None
    match record.value:
        case b"drop":
            return Decision(Dropped("payout", "dropped"), "payout.created", "m")
        case b"away" | b"away!!":
            return Decision(SentOn(b"cus_2", 3, 4), "payment.succeeded", "m")
        case b"bad" | b"large":
            return Decision(DeadLettered("unreadable", "bad"), None, "m")
        case _:
            operations = tuple(
                MappedOperation(f"{record.offset}{kind}", b"{}", barrier=False, kind=kind, name=None)
                for kind in ("identify", "event")
            )
            if record.value == b"gone":
                operations += (MappedOperation("gone", b"{}", True, "delete", None, b"cus_3"),)
            commands = (OutRecord(b"person:1", record.value),) if record.value == b"share" else ()
            known = record.value in {b"ann", b"bea"}
            address = "both@example.com" if known else None
            verdict = Operations(record.key or b"", operations, event_time_ms=1, address=address)
            return Decision(verdict, "payment.succeeded", "m", commands, record.value if known else None)


@dataclass
class Chunk:
    """What would go out, and the moment at which it is durable."""

    producer: FakeProducer
    records: list[tuple[str, int, OutRecord]] = field(default_factory=list)

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Keep it, as far as the topic can."""
        if len(record.value or b"") > self.producer.largest:
            raise RecordTooLargeError("too large")
        self.records.append((topic, partition, record))

    def extend(self, *_: object) -> None:
        """Facts come only with a state."""
        raise NotImplementedError

    def offsets(self, _topic: str, _partition: int) -> range | None:
        """Of facts."""
        raise NotImplementedError

    def send(self) -> Awaitable[None]:
        """Durable when the test says so."""
        self.producer.sent.append(self)
        self.durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self.durable


@dataclass
class FakeProducer:
    """Brokers in the hand of the test: four partitions, one per last digit of the key."""

    sent: list[Chunk] = field(default_factory=list)
    abandoned: bool = False
    largest: int = 1_000_000

    def partition_for(self, _topic: str, key: bytes | None) -> int:
        """Stands for murmur2."""
        return sum(key or b"") % 4

    def chunk(self) -> Chunk:
        """A new chunk."""
        return Chunk(self)

    def abandon(self) -> None:
        """What is not durable fails."""
        self.abandoned = True
        for chunk in self.sent:
            if not chunk.durable.done():
                chunk.durable.set_exception(DeliveryError("given up"))


class Bench:
    """A flow between fakes."""

    def __init__(self, spans: RecordSpans | None = None) -> None:
        self.producer = FakeProducer()
        self.told: list[ChunkTransformed] = []
        self.failures: list[BaseException] = []
        self.acks: dict[int, list[int]] = defaultdict(list)
        self.heard = True
        self.flow = Flow(
            decide,
            self.producer,
            operations_topic=OPERATIONS,
            dead_letters_topic=DEAD_LETTERS,
            observe=self._observe,
            fail=self.failures.append,
            may_send=lambda _: self.heard,
            spans=spans,
            clock=lambda: 1_767_000_000.5,
        )
        self.flow.resume(1, frozenset())

    def _observe(self, event: object) -> None:
        assert isinstance(event, ChunkTransformed)
        self.told.append(event)

    def batch(
        self, first: int, *values: bytes, partition: int = 0, generation: int = 1, trace: str | None = None
    ) -> RecordBatch:
        """A chunk of these values from offset `first` on, each with this `traceparent`."""
        headers = () if trace is None else (("traceparent", trace.encode()),)
        records = [
            consumed(value, offset=first + i, headers=headers, partition=partition) for i, value in enumerate(values)
        ]
        return RecordBatch.of("webhooks", partition, records, generation, self.acks[partition].append)


async def settle() -> None:
    """Let callbacks that are due run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_outcomes_in_order() -> None:
    """Operations go to their person's partition in order, dead letters to their topic, drops nowhere."""
    bench = Bench()
    await bench.flow.take(bench.batch(5, b"pay", b"drop", b"bad", b"pay"))
    (chunk,) = bench.producer.sent
    partition = sum(b"cus_1") % 4
    assert [(topic, p, text_header(r.headers, "op-id")) for topic, p, r in chunk.records] == [
        (OPERATIONS, partition, "5identify"),
        (OPERATIONS, partition, "5event"),
        (DEAD_LETTERS, partition, None),
        (OPERATIONS, partition, "8identify"),
        (OPERATIONS, partition, "8event"),
    ]
    letter = chunk.records[2][2]
    assert text_header(letter.headers, "dlq-source") == "webhooks/0/7"
    assert text_header(letter.headers, "dlq-at") == "1767000000500"


async def test_a_dead_letter_is_logged_once_it_is_durable() -> None:
    """As the sink logs it: class and place, nothing of the webhook; and not before it lies in its topic."""
    bench = Bench()
    with capture_logs() as said:
        await bench.flow.take(bench.batch(5, b"pay", b"bad"))
        assert said == []
        bench.producer.sent[0].durable.set_result(None)
        await settle()
    assert said == [
        {
            "event": "dead letter",
            "log_level": "warning",
            "dlq_class": "unreadable",
            "source": "webhooks/0/6",
            "field": None,
        }
    ]


async def test_an_operation_about_somebody_else_goes_to_their_partition() -> None:
    """Behind what was sent to them before."""
    bench = Bench()
    await bench.flow.take(bench.batch(5, b"gone"))
    (chunk,) = bench.producer.sent
    keys = [b"cus_1", b"cus_1", b"cus_3"]
    assert [(p, r.key) for _, p, r in chunk.records] == [(sum(key) % 4, key) for key in keys]


async def test_two_customers_of_one_address_are_counted() -> None:
    """In the notes of the chunk in which the second one's profile goes out."""
    bench = Bench()
    await bench.flow.take(bench.batch(5, b"pay", b"ann", b"bea", b"ann"))
    bench.producer.sent[0].durable.set_result(None)
    await settle()
    assert [chunk.notes.get("shared-address") for chunk in bench.told] == [1]


async def test_a_copy_for_the_owner_is_durable_before_the_webhook_is_acknowledged() -> None:
    """What lies elsewhere than its customer is written to the owner's partition of its own topic, and waited for."""
    bench = Bench()
    await bench.flow.take(bench.batch(5, b"away"))
    ((topic, partition, copy),) = bench.producer.sent[0].records
    assert (topic, partition, copy.key, copy.value) == ("webhooks", 3, b"cus_2", b"away")
    assert text_header(copy.headers, "repartitioned-from") == "webhooks/0/5"
    await settle()
    assert (bench.acks[0], bench.told) == ([], [])
    bench.producer.sent[0].durable.set_result(None)
    await settle()
    assert bench.acks[0] == [5]
    assert bench.told[0].webhooks == {("payment.succeeded", "sent_on", ""): 1}


async def test_a_copy_that_its_topic_cannot_hold() -> None:
    """The two headers more may be too many: then it is a dead letter, and counted as one."""
    bench = Bench()
    bench.producer.largest = 5
    await bench.flow.take(bench.batch(5, b"away!!"))
    ((topic, _, letter),) = bench.producer.sent[0].records
    assert (topic, text_header(letter.headers, "dlq-class")) == (DEAD_LETTERS, "oversize")
    bench.producer.sent[0].durable.set_result(None)
    await settle()
    assert bench.told[0].webhooks == {("payment.succeeded", "dead_letter", "oversize"): 1}


async def test_acknowledged_only_when_durable() -> None:
    """Nothing is acknowledged or told before the brokers have everything."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay", b"pay"))
    await settle()
    assert bench.acks[0] == []
    assert bench.told == []
    bench.producer.sent[0].durable.set_result(None)
    await settle()
    assert bench.acks[0] == [1]
    (told,) = bench.told
    assert (told.first_offset, told.last_offset, told.records, told.bytes) == (0, 1, 2, 6)
    assert told.webhooks == {("payment.succeeded", "operations", ""): 2}


async def test_whom_brokers_hold_up_that_do_not_take_records() -> None:
    """Those whose chunks are on their way, and no partition beside them that stands still for a reason of its own."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay"))
    await bench.flow.take(bench.batch(0, b"pay", partition=1))
    assert bench.flow.held_up() == {TP("webhooks", 0), TP("webhooks", 1)}
    bench.producer.sent[1].durable.set_result(None)
    await settle()
    assert bench.flow.held_up() == {TP("webhooks", 0)}


async def test_brokers_hold_up_everybody() -> None:
    """Once so much is on its way that no chunk is taken any more, and while partitions move."""
    bench = Bench()
    for first in range(MAX_CHUNKS):
        await bench.flow.take(bench.batch(first, b"pay"))
    assert bench.flow.held_up() is not None
    waiting = asyncio.ensure_future(bench.flow.take(bench.batch(0, b"pay", partition=1)))
    await settle()
    assert bench.flow.held_up() is None
    bench.producer.sent[0].durable.set_result(None)
    await waiting
    assert bench.flow.held_up() == {TP("webhooks", 0), TP("webhooks", 1)}
    bench.flow.begin()
    assert bench.flow.held_up() is None


async def test_an_observer_that_raises_holds_nothing_back() -> None:
    """A chunk whose observer fails is acknowledged like any other, and so are those behind it."""
    bench = Bench()

    def broken(event: object) -> None:
        raise ZeroDivisionError(event)

    bench.flow._observe = broken
    for first in (0, 2):
        await bench.flow.take(bench.batch(first, b"pay", b"pay"))
        bench.producer.sent[-1].durable.set_result(None)
        await settle()
    assert bench.acks[0] == [1, 3]
    assert (bench.flow.in_flight, bench.failures) == (0, [])


async def test_a_chunk_waits_while_the_group_does_not_hear_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brokers may be away, or we may have been frozen and replaced: nothing leaves until one of them is known."""
    monkeypatch.setattr(flow_module, "HOLD_LOOK_S", 0.0)
    bench = Bench()
    bench.heard = False
    waiting = asyncio.ensure_future(bench.flow.take(bench.batch(0, b"pay")))
    await settle()
    assert bench.producer.sent == []
    bench.heard = True
    await waiting
    assert len(bench.producer.sent) == 1


@pytest.mark.parametrize("end", ["begin", "resume"])
async def test_a_chunk_that_waits_is_dropped_when_its_partition_goes(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new owner maps it again; it neither leaves nor is acknowledged here."""
    monkeypatch.setattr(flow_module, "HOLD_LOOK_S", 0.0)
    bench = Bench()
    bench.heard = False
    waiting = asyncio.ensure_future(bench.flow.take(bench.batch(0, b"pay")))
    await settle()
    if end == "begin":
        bench.flow.begin()
    else:
        bench.flow.resume(2, frozenset())
    await waiting
    bench.heard = True
    assert bench.producer.sent == []
    assert bench.flow.in_flight == 0
    assert bench.acks[0] == []


async def test_what_could_not_leave_in_time_is_abandoned() -> None:
    """Neither acknowledged nor a failure: its next owner maps it again; chunks of the next assignment flow."""
    bench = Bench()
    for first in (0, 1):
        await bench.flow.take(bench.batch(first, b"pay"))
    bench.producer.sent[1].durable.set_result(None)
    await settle()
    bench.flow.begin()
    bench.flow.abandon()
    await settle()
    assert bench.producer.abandoned
    await bench.flow.drained()
    assert (bench.flow.in_flight, bench.failures, bench.acks[0]) == (0, [], [])
    bench.flow.resume(2, frozenset())
    await bench.flow.take(bench.batch(0, b"pay", generation=2))
    bench.producer.sent[-1].durable.set_result(None)
    await settle()
    assert bench.acks[0] == [0]


async def test_with_nothing_in_flight_the_producer_is_kept() -> None:
    """To abandon one costs a new one."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay"))
    bench.producer.sent[0].durable.set_result(None)
    await settle()
    bench.flow.begin()
    bench.flow.abandon()
    assert not bench.producer.abandoned


async def test_a_chunk_in_the_making_is_of_its_own_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A static member joins again under the number that it had; what waited before is another's all the same."""
    monkeypatch.setattr(flow_module, "HOLD_LOOK_S", 0.0)
    bench = Bench()
    bench.heard = False
    waiting = asyncio.ensure_future(bench.flow.take(bench.batch(0, b"pay")))
    await settle()
    bench.flow.begin()
    bench.flow.resume(1, frozenset())
    bench.heard = True
    await waiting
    assert bench.producer.sent == []


async def test_commands_go_behind_operations() -> None:
    """Back into the topic that the chunk came from, once its operations are durable; acknowledged when both are."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"share", b"pay", b"share"))
    await settle()
    (operations,) = bench.producer.sent
    operations.durable.set_result(None)
    await settle()
    _, commands = bench.producer.sent
    partition = sum(b"person:1") % 4
    assert [(topic, p, r.key) for topic, p, r in commands.records] == [("webhooks", partition, b"person:1")] * 2
    assert (bench.acks[0], bench.told) == ([], [])
    bench.flow.begin()
    drained = asyncio.create_task(bench.flow.drained())
    await settle()
    assert not drained.done()
    commands.durable.set_result(None)
    await drained
    assert bench.acks[0] == [2]


@pytest.mark.parametrize("phase", [0, 1])
async def test_lost_commands_end_the_flow(phase: int) -> None:
    """Operations or commands that are not known to be durable are not acknowledged, nor are commands sent alone."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"share"))
    error = BrokenSequenceError("cannot be written any more")
    for number in range(phase + 1):
        await settle()
        durable = bench.producer.sent[number].durable
        if number == phase:
            durable.set_exception(error)
        else:
            durable.set_result(None)
    await settle()
    assert bench.failures == [error]
    assert bench.acks[0] == []
    assert len(bench.producer.sent) == phase + 1


@given(st.lists(st.integers(0, 2), min_size=1, max_size=MAX_CHUNKS), st.randoms(use_true_random=False))
async def test_acknowledged_in_order(partitions: list[int], random: object) -> None:
    """In whatever order sends complete, each partition is acknowledged in its own order and completely."""
    bench = Bench()
    firsts: dict[int, int] = defaultdict(int)
    for partition in partitions:
        await bench.flow.take(bench.batch(firsts[partition], b"pay", b"drop", partition=partition))
        firsts[partition] += 2
    chunks = list(bench.producer.sent)
    random.shuffle(chunks)  # type: ignore[attr-defined]
    done: list[Chunk] = []
    for chunk in chunks:
        chunk.durable.set_result(None)
        done.append(chunk)
        await settle()
        for partition in set(partitions):
            mine = [c for c, p in zip(bench.producer.sent, partitions, strict=True) if p == partition]
            ready = next((i for i, c in enumerate(mine) if c not in done), len(mine))
            assert bench.acks[partition] == [2 * i + 1 for i in range(ready)]


async def test_next_chunk_is_mapped_meanwhile() -> None:
    """Up to the bound chunks are mapped and handed over while earlier ones are on their way; then it waits."""
    bench = Bench()
    for i in range(MAX_CHUNKS):
        await bench.flow.take(bench.batch(i, b"pay"))
    waiting = asyncio.create_task(bench.flow.take(bench.batch(MAX_CHUNKS, b"pay")))
    await settle()
    assert not waiting.done()
    assert len(bench.producer.sent) == MAX_CHUNKS
    bench.producer.sent[3].durable.set_result(None)
    await waiting
    assert len(bench.producer.sent) == MAX_CHUNKS + 1


async def test_bound_of_bytes() -> None:
    """A chunk larger than the bound goes alone, and nothing joins it before it landed."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"x" * (MAX_BYTES + 1)))
    waiting = asyncio.create_task(bench.flow.take(bench.batch(1, b"pay")))
    await settle()
    assert not waiting.done()
    bench.producer.sent[0].durable.set_result(None)
    await waiting


async def test_failure_ends_the_flow() -> None:
    """A failed send is told once; what follows is neither acknowledged nor sent, however well it goes."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay"))
    await bench.flow.take(bench.batch(1, b"pay"))
    error = BrokenSequenceError("operations/1 cannot be written any more")
    bench.producer.sent[0].durable.set_exception(error)
    bench.producer.sent[1].durable.set_result(None)
    await settle()
    assert bench.failures == [error]
    assert bench.acks[0] == []
    with pytest.raises(BrokenSequenceError):
        await bench.flow.take(bench.batch(2, b"pay"))
    bench.flow.resume(2, frozenset())
    with pytest.raises(BrokenSequenceError):
        await bench.flow.take(bench.batch(2, b"pay", generation=2))
    assert len(bench.producer.sent) == 2


async def test_failure_wakes_a_waiter() -> None:
    """Whoever waits for room when a send fails learns of it at once."""
    bench = Bench()
    for i in range(MAX_CHUNKS):
        await bench.flow.take(bench.batch(i, b"pay"))
    waiting = asyncio.create_task(bench.flow.take(bench.batch(MAX_CHUNKS, b"pay")))
    await settle()
    bench.producer.sent[0].durable.cancel()
    with pytest.raises(DeliveryError):
        await waiting
    assert len(bench.failures) == 1


async def test_hand_over() -> None:
    """From `begin` on nothing is sent; `drained` waits for what is on its way, which is still acknowledged."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay"))
    bench.flow.begin()
    drained = asyncio.create_task(bench.flow.drained())
    await bench.flow.take(bench.batch(1, b"pay"))
    await settle()
    assert not drained.done()
    assert len(bench.producer.sent) == 1
    bench.producer.sent[0].durable.set_result(None)
    await drained
    assert bench.acks[0] == [0]


async def test_begin_wakes_a_waiter() -> None:
    """A chunk that waits for room when the hand-over begins is given up, not sent later."""
    bench = Bench()
    for i in range(MAX_CHUNKS):
        await bench.flow.take(bench.batch(i, b"pay"))
    waiting = asyncio.create_task(bench.flow.take(bench.batch(MAX_CHUNKS, b"pay")))
    await settle()
    bench.flow.begin()
    await waiting
    assert len(bench.producer.sent) == MAX_CHUNKS


async def test_old_generation() -> None:
    """A chunk that was delivered before the rebalance belongs to its new owner and is left alone."""
    bench = Bench()
    bench.flow.begin()
    await bench.flow.drained()
    bench.flow.resume(2, frozenset({TP("webhooks", 0)}))
    await bench.flow.take(bench.batch(0, b"pay", generation=1))
    assert bench.producer.sent == []
    await bench.flow.take(bench.batch(0, b"pay", generation=2))
    assert len(bench.producer.sent) == 1


async def test_straggler_of_an_old_generation_holds_nothing_back() -> None:
    """A send that outlived the grace is not in the way of the same partition's chunks afterwards."""
    bench = Bench()
    await bench.flow.take(bench.batch(0, b"pay"))
    bench.flow.begin()
    bench.flow.resume(2, frozenset())
    await bench.flow.take(bench.batch(0, b"pay", generation=2))
    bench.producer.sent[1].durable.set_result(None)
    await settle()
    assert bench.acks[0] == [0]


async def test_nothing_before_the_first_assignment() -> None:
    """Before the group assigned anything no chunk is taken."""
    bench = Bench()
    bench.flow.begin()
    await bench.flow.take(bench.batch(0, b"pay"))
    assert bench.producer.sent == []


async def test_event_loop_turns_in_a_big_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A big chunk is mapped in slices: others on the loop run in between, and a hand-over takes effect at once."""
    monkeypatch.setattr("pipeline.transform.flow.SLICE_S", 0.0)
    bench = Bench()
    taking = asyncio.create_task(bench.flow.take(bench.batch(0, *[b"pay"] * 50)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not taking.done()
    bench.flow.begin()
    await taking
    assert bench.producer.sent == []


async def test_a_dead_letter_that_its_topic_cannot_hold() -> None:
    """It keeps the place of the record instead of its content, and the flow goes on."""
    bench = Bench()
    bench.producer.largest = 4
    await bench.flow.take(bench.batch(5, b"large", b"pay"))
    (chunk,) = bench.producer.sent
    topic, _, letter = chunk.records[0]
    assert (topic, letter.key, letter.value) == (DEAD_LETTERS, b"cus_1", None)
    assert text_header(letter.headers, "dlq-source") == "webhooks/0/5"
    assert [record.value for _, _, record in chunk.records[1:]] == [b"{}", b"{}"]
    chunk.durable.set_result(None)
    await settle()
    assert bench.acks[0] == [6]
    assert bench.failures == []


async def test_a_trace_that_is_kept_goes_on() -> None:
    """Each record's spans end when all is durable, and say what it became; its operations name who sent them."""
    keeping = Keeping("transform")
    bench = Bench(RecordSpans(keeping.traces, "group", OPERATIONS))
    with capture_logs() as lines:
        await bench.flow.take(bench.batch(0, b"pay", b"drop", b"bad", b"away", trace=KEPT))
        await bench.flow.take(bench.batch(4, b"pay", trace=NOT_KEPT))
        await bench.flow.take(bench.batch(5, b"pay"))
        for chunk in bench.producer.sent:
            chunk.durable.set_result(None)
        await settle()
    spans = await keeping.spans()
    told = {(one.attributes or {})["messaging.kafka.offset"]: one for one in spans["process webhooks"]}
    outcomes = [(told[offset].attributes or {})["dodo_cio.outcome"] for offset in range(4)]
    assert outcomes == ["operations", "dropped", "dead_letter", "sent_on"]
    assert len(told) == 4
    assert {one.context.trace_id for one in told.values() if one.context} == {TRACE_ID}
    (send,) = spans[f"send {OPERATIONS}"]
    named = f"00-{TRACE_ID:032x}-{send.context.span_id:016x}-01".encode()
    sent = [record for chunk in bench.producer.sent for topic, _, record in chunk.records if topic == OPERATIONS]
    assert [dict(record.headers).get("traceparent") for record in sent] == [named, named, None, None, None, None]
    assert [line["trace_id"] for line in lines if line["event"] == "dead letter"] == [f"{TRACE_ID:032x}"]


async def test_a_chunk_that_is_given_up_leaves_no_span() -> None:
    """Its next owner's does."""
    keeping = Keeping("transform")
    bench = Bench(RecordSpans(keeping.traces, "group", OPERATIONS))
    await bench.flow.take(bench.batch(0, b"pay", trace=KEPT))
    bench.flow.begin()
    bench.flow.abandon()
    bench.flow.resume(2, frozenset())
    await settle()
    assert await keeping.spans() == {}
