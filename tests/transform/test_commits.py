"""Steps of a chunk come in their order, whatever completes first, and facts leave only while we may act."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BrokenSequenceError, DeliveryError
from pipeline.kafka.records import OutRecord
from pipeline.kafka.worker.batches import RecordBatch
from pipeline.statestore.events import ChangesStored
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.transaction import FLUSH_TRANSACTIONS, TransactionalStore
from pipeline.transform import commits as landing_module
from pipeline.transform.chunk_stats import ChunkStats
from pipeline.transform.commits import InFlightChunk, PartitionCommits
from pipeline.transform.customers.facts import SCHEMA_VERSION
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.departures import Departures
from tests.records import Consumed
from tests.transform.test_flow import settle
from tests.virtual import run_virtual


@dataclass
class Facts:
    """Facts on their way, durable when the test says so."""

    log: Bench
    keys: list[bytes] = field(default_factory=list)
    first: int = 0

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Facts come together."""
        raise NotImplementedError

    def extend(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes, bytes | None]],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Keep the keys."""
        assert (topic, partition, list(headers)) == ("customers", 0, [("schema-version", b"%d" % SCHEMA_VERSION)])
        self.keys += [key for key, _ in records]

    def send(self) -> Awaitable[None]:
        """They get their place in the order of sending."""
        self.log.sent.append(self)
        self.log.sending.set()
        self.first = self.log.offset
        self.log.offset += len(self.keys)
        self.durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.durable.add_done_callback(lambda _: self.log.durable.update(self.keys))
        return self.durable

    def offsets(self, _topic: str, _partition: int) -> range | None:
        """Their place."""
        return range(self.first, self.first + len(self.keys))


@dataclass
class Membership:
    """A membership in the hand of the test."""

    generation: int = 1
    alive: bool = True

    def may_finish(self, generation: int) -> bool:
        """Whether it is ours and the group hears of us."""
        return self.alive and generation == self.generation


class Bench:
    """Commits over a local store, between fakes."""

    def __init__(self, directory: Path) -> None:
        self.local = LmdbStore.open(directory, "customers", 0, CUSTOMERS)
        self.store = TransactionalStore(self.local, 0)
        self.membership = Membership()
        self.offset = 0
        self.sent: list[Facts] = []
        self.sending = asyncio.Event()
        self.acked: list[int] = []
        self.durable: set[bytes] = set()
        self.finished: list[InFlightChunk] = []
        self.failures: list[BaseException] = []
        self.told: list[ChangesStored] = []
        self.chunks: list[InFlightChunk] = []
        self.commits = PartitionCommits(
            "customers",
            lambda: Facts(self),
            self.membership,
            self.finished.append,
            self.failures.append,
            self.told.append,
        )

    def fly(self, *keys: bytes) -> InFlightChunk:
        """One more chunk, which puts these facts."""
        number = len(self.chunks)
        batch = RecordBatch.of("webhooks", 0, [Consumed(offset=number)], 1, self._acknowledge)
        for key in keys:
            self.store.put(key, b"%d" % number)
        chunk = InFlightChunk(batch, 1, ChunkStats(), 0.0, 0.0, self.store, self.store.seal())
        self.chunks.append(chunk)
        self.commits.add(chunk)
        return chunk

    def _acknowledge(self, offset: int) -> None:
        for key, value in (self.chunks[offset].writes or self.store.seal()).values.items():
            assert key in self.durable  # in the topic before it is acknowledged
            assert int(self.store.get(key) or b"-1") >= int(value or b"0")
        self.acked.append(offset)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with an empty mirror."""
    bench = Bench(tmp_path)
    yield bench
    bench.local.close(clean=False)


async def test_an_observer_that_raises_holds_nothing_back(bench: Bench) -> None:
    """Facts whose observer fails are stored and acknowledged all the same."""

    def broken(event: object) -> None:
        raise ZeroDivisionError(event)

    bench.commits.observe = broken
    bench.commits.outputs_stored(bench.fly(b"cus_1\0payment\0a"))
    bench.sent[0].durable.set_result(None)
    await settle()
    assert (bench.acked, bench.failures) == ([0], [])


async def test_outputs_facts_acknowledgement(bench: Bench) -> None:
    """Each step waits for the one before it; the local store is written when its time has come."""
    chunk = bench.fly(b"a\0k\0")
    bench.commits.move()
    assert bench.sent == []
    bench.commits.outputs_stored(chunk)
    assert [facts.keys for facts in bench.sent] == [[b"a\0k\0"]]
    await settle()
    assert (bench.acked, bench.local.get(b"a\0k\0")) == ([], None)
    bench.sent[0].durable.set_result(None)
    await settle()
    assert (bench.acked, bench.local.get(b"a\0k\0"), bench.store.get(b"a\0k\0")) == ([0], None, b"0")
    assert bench.finished == [chunk]
    assert [(one.kinds, one.bytes) for one in bench.told] == [({"k": 1}, 5)]


async def test_a_mirror_that_is_written_anew(bench: Bench) -> None:
    """Facts are sent meanwhile, and stored and acknowledged when it is over, in their order."""
    with bench.store.held():
        for key in (b"a\0k\0", b"b\0k\0"):
            bench.commits.outputs_stored(bench.fly(key))
            bench.sent[-1].durable.set_result(None)
        await settle()
        assert [facts.keys for facts in bench.sent] == [[b"a\0k\0"], [b"b\0k\0"]]
        assert (bench.acked, bench.local.next_offset) == ([], 0)
    async with asyncio.timeout(60):
        while len(bench.acked) < 2:  # noqa: ASYNC110 - it looks again by itself
            await asyncio.sleep(0.01)
    bench.store.flush()
    assert (bench.acked, bench.local.next_offset, bench.failures) == ([0, 1], 2, [])


async def test_facts_wait_for_the_outputs_ahead(bench: Bench) -> None:
    """Facts of a chunk are not sent before everything of the chunks before it is out."""
    first, second = bench.fly(b"a\0k\0"), bench.fly(b"b\0k\0")
    bench.commits.outputs_stored(second)
    assert bench.sent == []
    bench.commits.outputs_stored(first)
    assert [facts.keys for facts in bench.sent] == [[b"a\0k\0"], [b"b\0k\0"]]
    bench.sent[1].durable.set_result(None)
    await settle()
    assert bench.acked == []
    bench.sent[0].durable.set_result(None)
    await settle()
    assert bench.acked == [0, 1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.lists(st.sampled_from([b"a\0k\0", b"b\0k\0", b"c\0k\0"])), max_size=6), data=st.data())
async def test_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[bytes]], data: st.DataObject
) -> None:
    """However completions come, facts are sent and acknowledged in order, and the mirror ends as the last put says."""
    bench = Bench(tmp_path_factory.mktemp("mirror"))
    bench.commits.departures = departures = Departures(60.0 if data.draw(st.booleans()) else 0.0)
    try:
        flown = [bench.fly(*keys) for keys in chunks]
        wanted: dict[bytes, bytes] = {}
        for number, keys in enumerate(chunks):
            wanted |= dict.fromkeys(keys, b"%d" % number)
        waiting = list(flown)
        while len(bench.acked) < len(chunks):
            ready = [facts for facts in bench.sent if not facts.durable.done()]
            pick = data.draw(st.integers(0, len(waiting) + len(ready)))
            if pick < len(waiting):
                bench.commits.outputs_stored(waiting.pop(pick))
            elif pick < len(waiting) + len(ready):
                ready[pick - len(waiting)].durable.set_result(None)
            else:
                departures.now()
            await settle()
            assert bench.acked == list(range(len(bench.acked)))
        assert bench.acked == list(range(len(chunks)))
        assert bench.finished == flown
        bench.store.flush()
        assert {key: bench.local.get(key) for key in wanted} == wanted
        assert bench.local.next_offset == bench.offset
    finally:
        bench.local.close(clean=False)


async def test_without_heartbeats_facts_are_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the brokers do not answer nothing is sent; when the same membership lives on, it goes on by itself."""
    monkeypatch.setattr(landing_module, "HOLD_LOOK_S", 0.001)
    bench.membership.alive = False
    bench.commits.outputs_stored(bench.fly(b"a\0k\0"))
    await asyncio.sleep(0.01)
    assert (bench.sent, bench.finished) == ([], [])
    bench.membership.alive = True
    async with asyncio.timeout(300):
        await bench.sending.wait()
    bench.sent[0].durable.set_result(None)
    await settle()
    assert bench.acked == [0]


async def test_a_lost_membership_writes_nothing(bench: Bench) -> None:
    """A worker that was frozen past its session sends no facts, stores none and acknowledges nothing."""
    first, second = bench.fly(b"a\0k\0"), bench.fly(b"b\0k\0")
    bench.membership.generation = -1
    bench.commits.outputs_stored(first)
    bench.commits.outputs_stored(second)
    third = bench.fly(b"c\0k\0")
    bench.commits.outputs_stored(third)
    await settle()
    assert (bench.sent, bench.acked, bench.finished) == ([], [], [first, second, third])
    assert list(bench.local.scan(b"")) == []


async def test_a_store_that_was_given_up_takes_nothing(bench: Bench) -> None:
    """Facts that become durable after the partition was assigned anew are the restore's to read."""
    chunk = bench.fly(b"a\0k\0")
    bench.commits.outputs_stored(chunk)
    bench.store.give_up()
    bench.sent[0].durable.set_result(None)
    await settle()
    assert (bench.acked, bench.finished, bench.local.get(b"a\0k\0")) == ([], [chunk], None)


async def land(bench: Bench, *keys: bytes) -> None:
    """A chunk with these facts, acknowledged."""
    bench.commits.outputs_stored(bench.fly(*keys))
    bench.sent[-1].durable.set_result(None)
    await settle()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a timer tells nobody
            await asyncio.sleep(0.001)


async def test_the_local_store_is_written_soon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second later at most, without another chunk, and again for what comes then."""
    monkeypatch.setattr(landing_module, "FLUSH_WITHIN_S", 0.01)
    await land(bench, b"a\0k\0")
    await until(lambda: bench.local.next_offset == 1)
    await land(bench, b"b\0k\0")
    await until(lambda: bench.local.next_offset == 2)
    assert (bench.local.get(b"a\0k\0"), bench.local.get(b"b\0k\0"), bench.failures) == (b"0", b"1", [])


async def test_many_chunks_are_one_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is written once for so many of them, before the last of them is acknowledged."""
    writes = []
    ours = LmdbStore.write

    def write(local: LmdbStore, *args: Any) -> None:
        writes.append(len(bench.acked))
        ours(local, *args)

    monkeypatch.setattr(LmdbStore, "write", write)
    monkeypatch.setattr(landing_module, "FLUSH_WITHIN_S", 3600.0)  # so many chunks may take their time
    for number in range(2 * FLUSH_TRANSACTIONS):
        await land(bench, b"a\0k\0%d" % number)
    assert writes == [FLUSH_TRANSACTIONS - 1, 2 * FLUSH_TRANSACTIONS - 1]


async def test_a_store_that_cannot_be_written_later_ends_the_flow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is in the topic; the error is not lost in a timer."""
    monkeypatch.setattr(landing_module, "FLUSH_WITHIN_S", 0.001)
    await land(bench, b"a\0k\0")
    bench.local.close(clean=False)
    await until(lambda: bool(bench.failures))
    assert bench.acked == [0]


def test_given_up_with_facts_to_write(bench: Bench) -> None:
    """The timer ends with its partition's chunks; the store writes what is committed when it is given up itself."""

    async def scenario() -> None:
        await land(bench, b"a\0k\0")
        bench.commits.give_up()
        await asyncio.sleep(2 * landing_module.FLUSH_WITHIN_S)
        assert bench.local.next_offset == 0
        bench.store.give_up()
        assert (bench.local.get(b"a\0k\0"), bench.local.next_offset, bench.failures) == (b"0", 1, [])

    run_virtual(scenario())


async def test_failures_end_the_flow(bench: Bench) -> None:
    """Facts that are not known to be durable are not acknowledged."""
    bench.commits.outputs_stored(bench.fly(b"a\0k\0"))
    error = BrokenSequenceError("customers/0")
    bench.sent[0].durable.set_exception(error)
    await settle()
    assert (bench.failures, bench.acked) == ([error], [])


async def test_failures_of_chunks_that_were_given_up(bench: Bench) -> None:
    """They are another owner's now: a send that fails late ends nothing."""
    bench.commits.outputs_stored(bench.fly(b"a\0k\0"))
    bench.commits.give_up()
    bench.sent[0].durable.set_exception(DeliveryError("customers/0"))
    await settle()
    assert (bench.failures, bench.acked) == ([], [])


async def test_chunks_without_facts(bench: Bench) -> None:
    """What leaves no fact is acknowledged in its turn, and nothing is sent or told for it."""
    first, second = bench.fly(), bench.fly()
    bench.commits.outputs_stored(second)
    assert bench.acked == []
    bench.commits.outputs_stored(first)
    assert (bench.acked, bench.sent, bench.told) == ([0, 1], [], [])
