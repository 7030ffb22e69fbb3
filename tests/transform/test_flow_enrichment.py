"""Chunks that wait while Dodo is asked who a customer is, beside those that do not; and hand-overs meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any, cast

import pytest

from pipeline.errors import DeliveryError
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.statestore.partitions import PartitionStores
from pipeline.statestore.store import KeyValueStore, MemoryStore
from pipeline.statestore.transaction import Transaction, TransactionalStore
from pipeline.transform import parked as parked_module
from pipeline.transform.commits import Membership, Producer
from pipeline.transform.decision import Decision
from pipeline.transform.enrichment import Enrichment
from pipeline.transform.flow import Flow, State
from pipeline.transform.parked import MAX_PARKED
from pipeline.transform.product_lookups import ProductLookups
from pipeline.transform.resolver import Asking, FoundCustomer
from pipeline.transform.verdicts import Dropped
from pipeline.transform.webhook import Reading
from tests.records import Consumed

consumed = partial(Consumed, topic="webhooks", timestamp=1)
"""A record as a consumer hands it out."""


class Facts(MemoryStore):
    """One for all partitions, and the partitions."""

    has_gap = False
    is_given_up = False
    is_held = False
    is_flushed = True

    def store(self, partition: int) -> TransactionalStore:  # noqa: ARG002 - one for all
        """One for all."""
        return cast("TransactionalStore", self)

    def keep(self, partitions: Collection[int]) -> None:
        """Nothing to close."""

    async def read_gap(self, partition: int, store: TransactionalStore) -> None:
        """There is none."""

    def seal(self) -> Transaction:
        """Nothing is put."""
        return Transaction(0)


def value_of(reading: Reading) -> bytes:
    """What lay in the topic."""
    assert reading.record is not None
    return reading.record.value or b""


class Questions:
    """Enrichment whose answers are a matter of the test."""

    def __init__(self) -> None:
        self.asking: dict[str, Asking] = {}
        self.answers: dict[str, asyncio.Future[None]] = {}
        self.known: set[str] = set()
        self.found: list[str] = []

    def unknown_customer(self, reading: Reading, store: KeyValueStore) -> str | None:  # noqa: ARG002 - the record says it
        """Whom the record's value asks for."""
        text = value_of(reading).decode()
        return text[:-1] if text.endswith("?") and text[:-1] not in self.found else None

    def ask(self, customer_id: str, *, waits: bool) -> FoundCustomer | Asking | None:
        """Known, or a question of the test's."""
        if customer_id in self.known:
            return FoundCustomer({"customer_id": customer_id}, 1)
        if customer_id not in self.asking:
            future = self.answers[customer_id] = asyncio.get_running_loop().create_future()

            async def answered() -> None:
                await future

            self.asking[customer_id] = asyncio.ensure_future(answered())
        return self.asking[customer_id] if waits else None

    def put(self, found: FoundCustomer, customer_id: str, store: KeyValueStore) -> None:  # noqa: ARG002 - remembered
        """Remember."""
        self.found.append(customer_id)

    def answer(self, customer_id: str) -> None:
        """It came."""
        self.known.add(customer_id)
        self.answers[customer_id].set_result(None)


class Sends:
    """A chunk that is durable at once."""

    async def send(self) -> None:
        """Nothing goes out."""


class Names:
    """Look-ups whose answers are a matter of the test: a value with a `!` behind waits."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[None] | None = None
        self.asked: list[bool] = []

    def missing(self, reading: Reading, *, waits: bool) -> asyncio.Future[None] | None:
        """One for all."""
        if not value_of(reading).endswith(b"!"):
            return None
        self.asked.append(waits)
        if self.waiting is None:
            self.waiting = asyncio.get_running_loop().create_future()
        return self.waiting if waits and not self.waiting.done() else None


class Silent:
    """A producer that nothing reaches."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """None is asked for."""
        raise AssertionError((topic, key))

    def chunk(self) -> Any:
        """Nothing is put into it."""
        return Sends()


class Bench:
    """A flow between those."""

    def __init__(self) -> None:
        self.questions = Questions()
        self.names = Names()
        self.decided: list[str] = []
        self.acks: dict[int, list[int]] = defaultdict(list)
        self.failures: list[BaseException] = []
        self.flow = Flow(
            self._decide,
            cast("Producer", Silent()),
            operations_topic="operations",
            dead_letters_topic="dead-letters",
            observe=lambda _: None,
            fail=self.failures.append,
            state=State(cast("PartitionStores", Facts()), "customers", cast("Membership", object())),
            enrichment=cast("Enrichment", self.questions),
            lookups=cast("ProductLookups", self.names),
        )
        self.flow.resume(1, frozenset())

    def _decide(self, reading: Reading, _: KeyValueStore | None) -> Decision:
        text = value_of(reading).decode()
        if text == "bug":
            raise ValueError(text)
        self.decided.append(text)
        return Decision(Dropped("payout", ""), None, "m")

    def batch(self, first: int, *values: str, partition: int = 0, generation: int = 1) -> RecordBatch:
        """A chunk of these values from offset `first` on."""
        records = [consumed(value.encode(), offset=first + i, partition=partition) for i, value in enumerate(values)]
        return RecordBatch.of("webhooks", partition, records, generation, self.acks[partition].append)

    async def until_acked(self, partition: int, offset: int) -> None:
        """Wait for it."""
        async with asyncio.timeout(60):
            while self.acks[partition][-1:] != [offset]:  # noqa: ASYNC110 - callbacks tell nobody
                await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Bench:
    """A flow with one assignment."""
    return Bench()


async def test_only_the_customer_s_partition_waits(bench: Bench) -> None:
    """Others go on; the chunk and those behind it follow in their order once the answer is there."""
    await bench.flow.take(bench.batch(0, "a", "ann?", "b"))
    await bench.flow.take(bench.batch(3, "c"))
    await bench.flow.take(bench.batch(0, "d", partition=1))
    await bench.until_acked(1, 0)
    assert bench.decided == ["a", "d"]
    assert bench.acks[0] == []
    bench.questions.answer("ann")
    await bench.until_acked(0, 3)
    assert bench.decided == ["a", "d", "ann?", "b", "c"]
    assert (bench.acks[0], bench.questions.found, bench.failures) == ([2, 3], ["ann"], [])
    await bench.flow.take(bench.batch(4, "e"))  # the partition waits no longer
    assert bench.decided[-1] == "e"


async def test_patience_is_for_a_chunk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many questions a chunk has, it waits once for so long; then each goes on with what is known."""
    waits: list[float | None] = []
    ours = asyncio.wait

    async def wait(futures: Any, *, timeout: float | None = None, **how: Any) -> Any:  # noqa: ASYNC109 - asyncio's
        waits.append(timeout)
        return await ours(futures, timeout=0.01, **how)

    monkeypatch.setattr(asyncio, "wait", wait)
    await bench.flow.take(bench.batch(0, "ann?", "bob?", "eve?"))
    await bench.until_acked(0, 2)
    assert waits == [parked_module.PATIENCE_S]
    assert bench.decided == ["ann?", "bob?", "eve?"]
    assert set(bench.questions.asking) == {"ann", "bob", "eve"}  # their answers are for the next webhooks
    bench.questions.answer("bob")
    await bench.flow.take(bench.batch(3, "bob?"))
    assert (bench.decided[-1], bench.questions.found) == ("bob?", ["bob"])


async def test_nobody_is_kept_waiting_by_those_who_wait(bench: Bench) -> None:
    """With too much behind a question it is not waited for any longer, and the worker goes on."""
    for number in range(3 * MAX_PARKED):
        async with asyncio.timeout(60):
            await bench.flow.take(bench.batch(number, f"cus_{number}?"))
    async with asyncio.timeout(60):
        await bench.flow.take(bench.batch(0, "other", partition=1))
    await bench.until_acked(1, 0)
    assert bench.acks[0] == list(range(len(bench.acks[0])))
    assert 3 * MAX_PARKED - len(bench.acks[0]) <= MAX_PARKED
    assert [text for text in bench.decided if text != "other"] == [f"cus_{n}?" for n in range(len(bench.acks[0]))]


async def test_hand_over_while_asking(bench: Bench) -> None:
    """A partition that goes while an answer is awaited takes nothing with it: no fact, no decision, no record."""
    await bench.flow.take(bench.batch(0, "ann?"))
    await bench.flow.take(bench.batch(1, "b"))
    bench.flow.begin()
    await bench.flow.drained()
    bench.flow.resume(2, frozenset())
    bench.questions.answer("ann")
    await bench.flow.take(bench.batch(0, "c", generation=2))
    await bench.until_acked(0, 0)
    assert (bench.questions.found, bench.decided, bench.flow.in_flight) == ([], ["c"], 0)


async def test_hand_over_under_the_same_generation(bench: Bench) -> None:
    """A static member that joins again keeps its generation; what waited belongs to the assignment before."""
    await bench.flow.take(bench.batch(0, "ann?"))
    bench.flow.begin()
    bench.flow.resume(1, frozenset())
    bench.questions.answer("ann")
    await bench.flow.take(bench.batch(0, "again"))
    await bench.until_acked(0, 0)
    assert (bench.decided, bench.acks[0]) == (["again"], [0])


async def test_a_failure_behind_a_question(bench: Bench) -> None:
    """What fails after the wait ends the worker as it would have before."""
    await bench.flow.take(bench.batch(0, "ann?", "bug"))
    bench.questions.answer("ann")
    async with asyncio.timeout(60):
        while not bench.failures:  # noqa: ASYNC110 - a callback tells
            await asyncio.sleep(0)
    assert bench.acks[0] == []
    with pytest.raises(ValueError, match="bug"):
        await bench.flow.take(bench.batch(2, "c"))


async def test_a_record_waits_for_the_name_of_its_product(bench: Bench) -> None:
    """Only its own partition, in order, and nobody once the answer or the time is there."""
    await bench.flow.take(bench.batch(0, "a", "new!", "b"))
    await bench.flow.take(bench.batch(0, "c", partition=1))
    await bench.until_acked(1, 0)
    assert bench.decided == ["a", "c"]
    assert bench.names.waiting is not None
    bench.names.waiting.set_result(None)
    await bench.until_acked(0, 2)
    assert bench.decided == ["a", "c", "new!", "b"]
    await bench.flow.take(bench.batch(3, "new!"))
    assert bench.decided[-1] == "new!"


async def test_a_chunk_without_patience_waits_for_no_name(bench: Bench) -> None:
    """What it waited for in vain is not waited for again by the rest of the chunk."""
    batch = bench.batch(0, "new!", "other!")
    chunk = parked_module.Chunk(batch, 1, bench.flow._stay, patience_s=0.01)
    answer = await bench.flow._go_on(chunk)
    assert answer is not None
    bench.flow._parked.park(chunk, answer)
    await bench.until_acked(0, 1)
    assert bench.decided == ["new!", "other!"]
    assert bench.names.asked == [True, False, False]


async def test_a_gap_that_outlasts_its_partitions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chunk is dropped: with the partitions the producer may have been given up, and makes no chunk."""
    read = asyncio.Event()

    async def read_gap(_facts: Facts, _partition: int, _store: TransactionalStore) -> None:
        await read.wait()

    def given_up(_producer: Silent) -> None:
        raise DeliveryError("the producer is stopped")

    monkeypatch.setattr(Facts, "has_gap", True)
    monkeypatch.setattr(Facts, "read_gap", read_gap)
    monkeypatch.setattr(Silent, "chunk", given_up)
    taking = asyncio.ensure_future(bench.flow.take(bench.batch(0, "a")))
    await asyncio.sleep(0)
    bench.flow.begin()
    read.set()
    await taking
    assert (bench.decided, bench.acks[0], bench.failures) == ([], [], [])
