"""A store brings the state of its partitions up to date from the topic, whatever became of its mirrors."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import NotLeaderForPartitionError, TopicAuthorizationFailedError
from faust.types import TP

from pipeline import version
from pipeline.errors import BrokerUnreachableError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.kafka.unpacking import FetchedBytes, PartitionRecords
from pipeline.settings import Settings
from pipeline.statestore import changelog, lmdb_store
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.events import GapRead, RecordsKeptAside, StateRestored
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.partition_count import began_value
from pipeline.transform.customers import facts as facts_module
from pipeline.transform.customers.facts import SCHEMA_VERSION, decode
from pipeline.transform.customers.shape import SHAPES
from tests.kafka.record_bytes import Wire, batch, put

if TYPE_CHECKING:
    from tests.statestore.conftest import Fact, Owner

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]
FactsIn = Callable[[Settings], Awaitable[list["Fact"]]]
Put = Callable[..., Awaitable[None]]


def event(customer: int, number: int) -> bytes:
    """A key of a grow-only kind, whose value is a second."""
    return b"cus_%06d\0event\0%d" % (customer, number)


def facts(*numbers: int, value: bytes = b"[100]") -> dict[bytes, bytes | None]:
    """A fact for each number, of as many customers."""
    return {event(number, 0): value for number in numbers}


async def test_a_state_begins(chain_settings: ChainSettings, own: Own, facts_in: FactsIn) -> None:
    """Each partition gets one record that says when its state began; what is put lies in the topic and in place."""
    settings = await chain_settings(partitions=3)
    async with own(settings) as owner:
        await owner.owns(0, 1, 2)
        await owner.writes(1, facts(1, 2))
        began = owner.store(1).began_at_ms
    records = await facts_in(settings)
    assert [(r.partition, r.key) for r in records] == [
        (0, BEGAN), (1, BEGAN), (1, event(1, 0)), (1, event(2, 0)), (2, BEGAN),
    ]  # fmt: skip
    assert {r.headers for r in records} == {(("schema-version", b"%d" % SCHEMA_VERSION),)}
    assert orjson.loads(records[1].value or b"")[0] == began
    async with own(settings) as owner:
        await owner.owns(0, 1, 2)
        assert owner.store(1).began_at_ms == began
    assert len(await facts_in(settings)) == 5


async def test_a_warm_start_reads_only_the_tail(chain_settings: ChainSettings, own: Own, put: Put) -> None:
    """After a clean end nothing is read again, of what came meanwhile exactly that, merged with what is known."""
    settings = await chain_settings(partitions=2)
    async with own(settings) as owner:
        await owner.owns(0, 1)
        await owner.writes(0, facts(*range(500)), b"cus_000007")
        await owner.writes(0, facts(600), b"cus_000008")
    async with own(settings) as owner:
        await owner.owns(0, 1)
        assert (owner.records_read, owner.started_anew) == (0, [])
        assert owner.store(0).derived(b"cus_000007") == b"derived"
    await put(
        settings, 0, [(event(7, 0), b"[50]"), (event(8, 0), b"[150]"), (event(9, 0), None), (event(700, 0), b"[1]")]
    )
    async with own(settings) as owner:
        await owner.owns(0, 1)
        assert (owner.records_read, owner.started_anew) == (4, [])
        store = owner.store(0)
        assert [store.get(event(n, 0)) for n in (7, 8, 9, 700)] == [b"[50]", b"[100]", None, b"[1]"]
        assert (store.derived(b"cus_000007"), store.derived(b"cus_000008")) == (None, b"derived")


@pytest.fixture
async def late_record(chain_settings: ChainSettings, own: Own, put: Put) -> Settings:
    """A fact of one partition, and on top of it what an earlier owner wrote too late."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(1))
    await put(settings, 0, [(event(1, 0), b"[900]")])
    return settings


async def latest_of_the_first(settings: Settings, facts_in: FactsIn) -> bytes | None:
    """The last record of that fact in the topic."""
    return [record.value for record in await facts_in(settings) if record.key == event(1, 0)][-1]


async def test_a_late_record_on_top_is_covered_again(late_record: Settings, own: Own, facts_in: FactsIn) -> None:
    """What an earlier owner wrote too late lies below the merged fact again, with the next chunk."""
    async with own(late_record) as owner:
        await owner.owns(0)
        assert owner.store(0).get(event(1, 0)) == b"[100]"
        await owner.flushes(0)
    assert await latest_of_the_first(late_record, facts_in) == b"[100]"


async def test_a_late_record_on_top_is_covered_again_by_whoever_comes_to_it(
    late_record: Settings, own: Own, facts_in: FactsIn
) -> None:
    """A worker that restored and ended, or was given other partitions, before its next chunk leaves it to be done."""
    async with own(late_record) as owner:
        await owner.owns(0)
        await owner.owns(0)
    async with own(late_record) as owner:
        await owner.owns(0)
        assert owner.records_read == 0
        await owner.flushes(0)
    assert await latest_of_the_first(late_record, facts_in) == b"[100]"


def lost(directory: Path) -> None:
    """The disk is new."""
    shutil.rmtree(directory)


def truncated(directory: Path) -> None:
    """The files were cut."""
    for data in directory.glob("**/data.mdb"):
        os.truncate(data, data.stat().st_size // 2)


def garbage(directory: Path) -> None:
    """The files are something else."""
    for data in directory.glob("**/data.mdb"):
        data.write_bytes(os.urandom(100_000))


@pytest.mark.parametrize("harm", [lost, truncated, garbage])
async def test_a_mirror_that_is_lost_or_broken_is_built_anew(
    chain_settings: ChainSettings, own: Own, harm: Callable[[Path], None]
) -> None:
    """Whatever happened to the files, the topic has everything."""
    settings = await chain_settings(partitions=2)
    async with own(settings) as owner:
        await owner.owns(0, 1)
        await owner.writes(0, facts(*range(300)))
        await owner.writes(1, facts(*range(200)))
    harm(settings.data_dir / "state")
    async with own(settings) as owner:
        await owner.owns(0, 1)
        assert owner.records_read == 502
        assert len(owner.started_anew) == 2
        assert [owner.store(0).get(event(n, 0)) for n in (0, 299, 300)] == [b"[100]", b"[100]", None]
        assert owner.store(1).get(event(199, 0)) == b"[100]"


async def make_anew(settings: Settings, partitions: int) -> None:
    """Delete the customers' topic and create it again."""
    async with open_admin(settings) as admin, asyncio.timeout(300):
        await admin.delete([settings.customers_topic])
        while await admin.partitions([settings.customers_topic]):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.05)
    specs = [spec for spec in load_specs(settings) if spec.name == settings.customers_topic]
    assert not await apply(settings, plan([replace(specs[0], partitions=partitions, partitions_like=None)], {}))


@pytest.mark.parametrize("meanwhile", [0, 50], ids=["empty", "shorter"])
async def test_a_topic_that_holds_less_than_the_mirror(
    chain_settings: ChainSettings, own: Own, tmp_path: Path, meanwhile: int
) -> None:
    """The last copy is not thrown away: the start is refused, again and again, until somebody accepts the loss."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(*range(100)))
    await make_anew(settings, 1)
    await begin_elsewhere(settings, own, tmp_path, meanwhile)
    for _ in range(2):
        async with own(settings) as owner:
            with pytest.raises(
                TopicError, match=r"partition 0: 101 facts here, at most .* Nothing was thrown away"
            ) as told:
                await owner.owns(0)
            assert "dodo-cio state restore-topic" in str(told.value)
            assert owner.started_anew == []
    async with own(settings.model_copy(update={"state_loss_accepted": True})) as owner:
        await owner.owns(0)
        assert len(owner.started_anew) == 1
        assert owner.store(0).get(event(1, 0)) is None
        assert (owner.store(0).get(event(1000, 0)) is not None) == bool(meanwhile)


async def begin_elsewhere(settings: Settings, own: Own, tmp_path: Path, count: int) -> None:
    """Another worker, without the mirror, takes the topic as it is."""
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    if count:
        async with own(elsewhere) as owner:
            await owner.owns(0)
            await owner.writes(0, facts(*range(1000, 1000 + count)))


async def test_a_topic_that_was_made_anew_and_filled(chain_settings: ChainSettings, own: Own, tmp_path: Path) -> None:
    """The mirror of a deleted topic is not mixed with the new one, which holds more by now."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(*range(100)))
    await make_anew(settings, 1)
    await begin_elsewhere(settings, own, tmp_path, 400)
    async with own(settings) as owner:
        await owner.owns(0)
        assert len(owner.started_anew) == 1
        assert owner.store(0).get(event(1, 0)) is None
        assert owner.store(0).get(event(1000, 0)) is not None


async def test_an_end_without_records(chain_settings: ChainSettings, own: Own) -> None:
    """Transaction markers, as compaction, leave offsets at the end that no record has; the restore still ends."""
    settings = await chain_settings(partitions=1)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=settings.sink_group
    )
    await producer.start()
    try:
        for number in range(3):
            async with producer.transaction():
                await producer.send_and_wait(settings.customers_topic, b"[1]", key=event(number, 0), partition=0)
    finally:
        await producer.stop()
    async with own(settings) as owner, asyncio.timeout(300):
        await owner.owns(0)
        assert owner.records_read == 4
        assert owner.store(0).get(event(2, 0)) == b"[1]"
        await owner.writes(0, facts(9))
    async with own(settings) as owner, asyncio.timeout(300):
        await owner.owns(0)
        assert (owner.records_read, owner.started_anew) == (0, [])


async def test_behind_an_open_transaction(
    chain_settings: ChainSettings, own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts of ours may lie behind somebody else's: a restore waits for its end, and says for what it waits."""
    monkeypatch.setattr(changelog, "STALL_S", 0.3)
    settings = await chain_settings(partitions=1)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    async with (
        AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=settings.sink_group
        ) as producer,
        own(settings) as owner,
        own(elsewhere) as other,
    ):
        await owner.owns(0)
        await producer.begin_transaction()
        await producer.send_and_wait(settings.customers_topic, b"[1]", key=event(9, 0), partition=0)
        await owner.writes(0, facts(1, 2))
        with structlog.testing.capture_logs() as lines:
            restoring = asyncio.create_task(other.owns(0))
            async with asyncio.timeout(60):
                while not [line for line in lines if "transaction of somebody else" in line["event"]]:  # noqa: ASYNC110 - a log tells nobody
                    await asyncio.sleep(0.05)
        assert not restoring.done()
        await producer.abort_transaction()
        async with asyncio.timeout(60):
            await restoring
        assert [other.store(0).get(event(number, 0)) for number in (1, 2, 9)] == [b"[100]", b"[100]", None]


async def test_a_header_that_cannot_be_read(chain_settings: ChainSettings, own: Own) -> None:
    """A fact is a fact, whatever stands beside it."""
    settings = await chain_settings(partitions=1)
    odd = Wire(event(1, 0), b"[1]", [(b"\xff", b"1")])
    await put(settings.kafka_bootstrap_servers, settings.customers_topic, batch(0, odd, Wire(event(2, 0), b"[2]")))
    async with own(settings) as owner:
        await owner.owns(0)
        assert [owner.store(0).get(event(number, 0)) for number in (1, 2)] == [b"[1]", b"[2]"]


async def test_a_batch_that_cannot_be_decoded(chain_settings: ChainSettings, own: Own) -> None:
    """Without the facts in it sums would be wrong: the restore ends with its place and what is the matter with it."""
    settings = await chain_settings(partitions=1)
    await put(settings.kafka_bootstrap_servers, settings.customers_topic, batch(0, Wire(event(1, 0), b"[1]")))
    ours = PartitionRecords._unpack_records

    def of_the_future(records: Any) -> Any:
        records._records = FetchedBytes(batch(0, Wire(event(1, 0), b"[1]"), attributes=6))
        return ours(records)

    async with own(settings) as owner:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(PartitionRecords, "_unpack_records", of_the_future)
            with pytest.raises(TopicError, match=r"customers/0/0: .* compressed with codec 6.* sums would be wrong"):
                await owner.owns(0)


async def test_records_that_are_none_of_ours(chain_settings: ChainSettings, own: Own, put: Put) -> None:
    """Keys of another form, or too long for a mirror, are left alone and stop nothing."""
    settings = await chain_settings(partitions=1)
    await put(settings, 0, [(b"hello", b"1"), (b"c\0event\0" + b"x" * 600, b"[1]"), (event(1, 0), b"not json")])
    async with own(settings) as owner:
        await owner.owns(0)
        assert owner.store(0).get(event(1, 0)) == b"not json"
        await owner.writes(0, facts(2))
        assert owner.store(0).get(event(2, 0)) == b"[100]"


async def test_facts_that_an_earlier_version_kept_aside(
    chain_settings: ChainSettings, own: Own, put: Put, facts_in: FactsIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a rollback a kind and a form that it does not know stay as they are in the topic, and count again after."""
    card, payment = b"cus_1\0card\0", b"cus_1\0payment\0pay_1"
    cards = [b'[%d,"pay_%d",null,"4242","12","2030"]' % (ms, ms) for ms in (9, 10)]
    paid = b'[100,"USD","2026-03-01T00:00:00Z",null,null,false,"webhook",[],null,[[],[]]]'
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
    await put(settings, 0, [(card, cards[0]), (card, cards[1]), (payment, paid)])
    with monkeypatch.context() as earlier:
        earlier.setattr(version, "build", lambda: "earlier")
        earlier.delitem(SHAPES, "card")
        earlier.delitem(facts_module._MERGES, "card")
        earlier.setitem(SHAPES, "payment", lambda fact: len(fact) == 9)
        async with own(settings) as owner:
            await owner.owns(0)
            await owner.flushes(0)
            assert [decode(kind, owner.store(0).get(key)) for kind, key in (("card", card), ("payment", payment))] == [
                None, None,
            ]  # fmt: skip
            kept_aside: Counter[str] = Counter()
            for event in owner.told:
                if isinstance(event, RecordsKeptAside):
                    kept_aside.update(event.kinds)
            assert kept_aside == Counter(card=2, payment=1)
        async with own(settings) as owner:
            await owner.owns(0)
            assert (owner.records_read, owner.started_anew) == (0, [])  # the same version has seen all of it
    assert [record.value for record in await facts_in(settings) if record.key == card] == cards
    async with own(settings) as owner:
        await owner.owns(0)
        assert [owner.store(0).get(key) for key in (card, payment)] == [cards[1], paid]
        assert len(owner.started_anew) == 1


async def test_partitions_come_and_go(chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays is not read again; what goes is closed, and found whole by its next owner on the same machine."""
    monkeypatch.setattr("pipeline.statestore.directory.LOCK_WITHIN_S", 300.0)  # however slow the disk is
    settings = await chain_settings(partitions=3)
    async with own(settings) as first, own(settings) as second:
        await first.owns(0, 1, 2)
        await first.writes(0, facts(*range(100)))
        await first.writes(1, facts(*range(100)))
        await first.owns(0, 2)
        assert first.records_read == 0
        await second.owns(1)
        assert (second.records_read, second.started_anew) == (0, [])
        await second.writes(1, facts(200))
        await second.owns()
        await first.owns(0, 1, 2)
        assert (first.records_read, len(first.started_anew)) == (0, 3)
        assert first.store(1).get(event(200, 0)) == b"[100]"


async def test_an_owner_that_never_let_go(chain_settings: ChainSettings, own: Own) -> None:
    """A frozen process keeps its mirror; the next owner neither waits for it nor shares it, and reads the topic."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as frozen, own(settings) as heir:
        await frozen.owns(0)
        await frozen.writes(0, facts(*range(50)))
        async with asyncio.timeout(300):
            await heir.owns(0)
        assert heir.records_read == 51
        await heir.writes(0, facts(100))
        assert frozen.store(0).get(event(100, 0)) is None


async def test_a_restore_that_is_overtaken(
    chain_settings: ChainSettings, own: Own, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled by the next rebalance it leaves what it has; the next restore goes on from there."""
    monkeypatch.setattr(changelog, "PIECE_RECORDS", 50)
    settings = await chain_settings(partitions=2)
    async with own(settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})) as earlier:
        await earlier.owns(0, 1)
    for partition in (0, 1):
        await put(settings, partition, [(event(number, 0), b"[1]") for number in range(2000)])
    async with own(settings) as owner:
        both = {TP(settings.webhooks_topic, number) for number in (0, 1)}
        restoring = asyncio.create_task(owner.stores.restore(both, 1))
        await owner.advanced.wait()
        said = owner.stores.restoring
        restoring.cancel()
        await asyncio.wait({restoring})
        assert restoring.cancelled()
        assert said is not None
        assert "% done" in said
        assert owner.stores.restoring is None
        assert not [one for one in owner.told if isinstance(one, StateRestored)]
        before = sum(getattr(one, "records", 0) for one in owner.told)
        await owner.owns(1, 0)
        assert before > 0
        assert owner.records_read == 4002 - before
        assert [owner.store(n).get(event(1999, 0)) for n in (0, 1)] == [b"[1]", b"[1]"]


async def test_a_restore_on_a_slow_disk_is_called_off(
    chain_settings: ChainSettings, own: Own, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the write that is under way, since the whole group waits for it, and not with the piece."""
    monkeypatch.setattr(lmdb_store, "SLICE_KEYS", 10)
    settings = await chain_settings(partitions=1)
    async with own(settings) as earlier:
        await earlier.owns(0)
    await put(settings, 0, [(event(number, 0), b"[1]") for number in range(2000)])
    writing, go_on = threading.Event(), threading.Event()
    writes: list[int] = []
    ours = LmdbStore._has_written

    def slow(store: LmdbStore, *args: Any) -> bool:
        writes.append(store.partition)
        writing.set()
        assert go_on.wait(60)
        return ours(store, *args)

    async with own(settings) as owner:
        with monkeypatch.context() as disk:
            disk.setattr(LmdbStore, "_has_written", slow)
            restoring = asyncio.create_task(owner.stores.restore({TP(settings.webhooks_topic, 0)}, 1))
            await asyncio.to_thread(writing.wait, 60)
            restoring.cancel()
            await asyncio.sleep(0)  # it has heard
            assert not restoring.done()
            with structlog.testing.capture_logs() as lines:
                go_on.set()
                await asyncio.wait({restoring})
        assert restoring.cancelled()
        (said,) = [line for line in lines if "called off" in line["event"]]
        assert (said["partitions"], said["records"]) == ([0], 0)
        assert len(writes) == 1
        await owner.owns(0)
        assert [owner.store(0).get(event(number, 0)) for number in (0, 1999)] == [b"[1]", b"[1]"]


async def test_a_gap_is_read(chain_settings: ChainSettings, own: Own, put: Put, facts_in: FactsIn) -> None:
    """Records that another owner wrote between ours are merged, what differs is told again, and the place moves on."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(1, 2))
        await put(settings, 0, [(event(1, 0), b"[900]"), (event(2, 0), b"[5]"), (event(3, 0), b"[7]")])
        await owner.writes(0, facts(4))
        store = owner.store(0)
        assert store.has_gap
        await owner.stores.read_gap(0, store)
        assert [one.records for one in owner.told if isinstance(one, GapRead)] == [4]
        assert [store.get(event(n, 0)) for n in (1, 2, 3)] == [b"[100]", b"[5]", b"[7]"]
        await owner.flushes(0)
        assert not owner.store(0).has_gap
    latest = {record.key: record.value for record in await facts_in(settings)}
    assert [latest[event(n, 0)] for n in (1, 2, 3)] == [b"[100]", b"[5]", b"[7]"]
    async with own(settings) as owner:
        await owner.owns(0)
        assert owner.records_read == 0


async def test_a_gap_with_tombstones(chain_settings: ChainSettings, own: Own, put: Put, facts_in: FactsIn) -> None:
    """What another owner took away is gone, what it told anew is what it told; garbage changes nothing."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, facts(1, 2, 3, 5), b"cus_000001")
        gap = [(event(1, 0), None), (event(2, 0), None), (event(2, 0), b"[900]"), (event(3, 0), b'["x"]')]
        await put(settings, 0, gap)
        await owner.writes(0, facts(4))
        store = owner.store(0)
        assert store.has_gap
        await owner.stores.read_gap(0, store)
        expected = [None, b"[900]", b"[100]", b"[100]", b"[100]"]
        assert [store.get(event(n, 0)) for n in (1, 2, 3, 4, 5)] == expected
        assert store.derived(b"cus_000001") is None
        await owner.flushes(0)
    latest = {record.key: record.value for record in await facts_in(settings)}
    assert [latest[event(n, 0)] for n in (1, 2, 3, 4, 5)] == expected
    async with own(settings) as owner:
        await owner.owns(0)
        assert [owner.store(0).get(event(n, 0)) for n in (1, 2, 3, 4, 5)] == expected


async def test_a_fact_that_goes_while_a_gap_is_read(
    chain_settings: ChainSettings, own: Own, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tombstone that is committed behind the end of what is read counts: nobody who is forgotten comes back."""
    settings = await chain_settings(partitions=1)
    ours = changelog.Changelog.read
    async with own(settings) as owner:
        await owner.owns(0)
        await put(settings, 0, [(event(3, 0), b"[7]")])
        await owner.writes(0, facts(1, 2))

        async def read(log: changelog.Changelog, spans: dict[int, range]) -> AsyncIterator[changelog.Piece]:
            async for piece in ours(log, spans):
                yield piece
            await owner.writes(0, {event(1, 0): None})

        with monkeypatch.context() as patched:
            patched.setattr(changelog.Changelog, "read", read)
            await owner.stores.read_gap(0, owner.store(0))
        assert [owner.store(0).get(event(n, 0)) for n in (1, 2, 3)] == [None, b"[100]", b"[7]"]
        await owner.writes(0, facts(4))
    async with own(settings) as owner:
        await owner.owns(0)
        assert [owner.store(0).get(event(n, 0)) for n in (1, 2, 3)] == [None, b"[100]", b"[7]"]


async def test_a_gap_while_the_brokers_are_away(
    chain_settings: ChainSettings, own: Own, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read when they are back; and not at all, once the partition has gone."""
    settings = await chain_settings(partitions=1)
    ends, failures = changelog.Changelog.bounds, [NotLeaderForPartitionError(), BrokerUnreachableError("away")]

    async def bounds(log: changelog.Changelog) -> dict[int, range]:
        if failures:
            raise failures.pop()
        return await ends(log)

    async with own(settings) as owner:
        await owner.owns(0)
        await put(settings, 0, [(event(3, 0), b"[7]")])
        await owner.writes(0, facts(1))
        store = owner.store(0)
        monkeypatch.setattr(changelog.Changelog, "bounds", bounds)
        await owner.stores.read_gap(0, store)
        assert (store.get(event(3, 0)), failures) == (b"[7]", [])
        failures.append(TopicAuthorizationFailedError())
        with pytest.raises(TopicAuthorizationFailedError):
            await owner.stores.read_gap(0, store)
        store.give_up()
        await owner.stores.read_gap(0, store)


async def test_a_gap_that_is_the_start_of_a_move(chain_settings: ChainSettings, own: Own, put: Put) -> None:
    """An owner that never noticed decides nothing more once the facts are on their way to others."""
    settings = await chain_settings(partitions=1)
    async with own(settings) as owner:
        await owner.owns(0)
        await put(settings, 0, [(BEGAN, began_value(1, "x", 0))])
        await owner.writes(0, facts(4))
        with pytest.raises(TopicError, match="state repartition"):
            await owner.stores.read_gap(0, owner.store(0))


async def test_memory_is_bounded_over_many_partitions(
    chain_settings: ChainSettings, own: Own, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More partitions than are fetched at once are all restored."""
    monkeypatch.setattr(changelog, "AT_ONCE", 2)
    settings = await chain_settings(partitions=5)
    for partition in range(5):
        await put(settings, partition, [(event(number, partition), b"[1]") for number in range(100)])
    async with own(settings) as owner:
        await owner.owns(0, 1, 2, 3, 4)
        assert owner.records_read == 505
        assert [owner.store(n).get(event(99, n)) for n in range(5)] == [b"[1]"] * 5
