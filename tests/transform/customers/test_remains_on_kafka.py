"""After a request to be forgotten the disks have nothing of the customer: of owners, and of those who were."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from pipeline.backfill.commands import forget_record
from pipeline.dodo import samples
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.statestore import cleanup
from pipeline.statestore import directory as directory_module
from pipeline.statestore.events import CompactionFailed, StoreCompacted, StoreRemoved
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.transform.customers.schema import CUSTOMERS
from tests.statestore.test_partitions import make_anew

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Fact, Fleet, Owner

pytestmark = pytest.mark.kafka

PARTITIONS = 4
PATIENCE_S = 120.0
WAITS_S = 1500
"""Before what was deleted is erased: longer than a test may take, which moves the clock instead."""

ChainSettings = Callable[..., Awaitable[Settings]]
Own = Callable[[Settings], AbstractAsyncContextManager["Owner"]]


def fact(number: int, kind: str = "payment") -> bytes:
    """A key."""
    return b"cus_%06d\0%b\0p" % (number, kind.encode())


VALUE = b'[100,"USD","2026-11-01T00:00:00Z",null,null,false,"webhook",[],null]'


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a disk tells nobody
            await asyncio.sleep(0.02)


def told(owner: Owner, kind: type) -> list[Any]:
    """The events of a kind."""
    return [event for event in owner.told if isinstance(event, kind)]


def files_of(*directories: Path) -> dict[Path, bytes]:
    """Every byte that lies there, by file; what goes away meanwhile is not there."""
    found = {}
    for directory in directories:
        for path in directory.rglob("*"):
            try:
                found[path] = path.read_bytes()
            except (IsADirectoryError, FileNotFoundError):
                continue
    return found


# --- a store ----------------------------------------------------------------------------------------------------------


async def test_many_requests_are_one_writing(
    chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted within the set time goes at once with it, and what is put meanwhile is kept."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=1, state_erase_after_seconds=WAITS_S)
    async with own(settings) as owner:
        await owner.owns(0)
        for number in range(30):
            await owner.writes(0, {fact(number): VALUE}, b"cus_%06d" % number)
        for number in range(20):
            await owner.writes(0, {fact(number): None})
        assert not told(owner, StoreCompacted)
        later = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + WAITS_S)
        monkeypatch.setattr(cleanup, "time", later)
        await until(lambda: bool(told(owner, StoreCompacted)))
        await owner.writes(0, {fact(99): VALUE})
        assert len(told(owner, StoreCompacted)) == 1
        assert told(owner, StoreCompacted)[0].bytes_after > 0
        files = files_of(settings.data_dir)
        assert [n for n in range(30) if any(fact(n) in data for data in files.values())] == list(range(20, 30))
        assert owner.store(0).get(fact(99)) == VALUE
    async with own(settings) as owner:
        await owner.owns(0)
        assert (owner.started_anew, owner.records_read) == ([], 0)
        assert [number for number in range(100) if owner.store(0).get(fact(number))] == [*range(20, 30), 99]


async def test_a_restart_in_between(chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process left to be erased the next one erases."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=1, state_erase_after_seconds=1500)
    async with own(settings) as owner:
        await owner.owns(0)
        await owner.writes(0, {fact(1): VALUE, fact(2): VALUE})
        await owner.writes(0, {fact(1): None})
        assert not told(owner, StoreCompacted)
    async with own(settings.model_copy(update={"state_erase_after_seconds": 0})) as owner:
        await owner.owns(0)
        await until(lambda: bool(told(owner, StoreCompacted)))
        assert not any(fact(1) in data for data in files_of(settings.data_dir).values())
        assert owner.store(0).get(fact(2)) == VALUE


async def test_a_disk_without_room(chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, tried again later, and the worker goes on."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=1, state_erase_after_seconds=0)
    ours = LmdbStore.copy
    full = [OSError(28, "No space left on device")]

    def copy(store: LmdbStore) -> None:
        if full:
            raise store._fault(full.pop())
        ours(store)

    monkeypatch.setattr(LmdbStore, "copy", copy)
    monkeypatch.setattr(cleanup, "AGAIN_S", 0.2)
    with capture_logs() as said:
        async with own(settings) as owner:
            await owner.owns(0)
            await owner.writes(0, {fact(1): VALUE})
            await owner.writes(0, {fact(1): None})
            await until(lambda: bool(told(owner, CompactionFailed)))
            await owner.writes(0, {fact(2): VALUE})
            await until(lambda: bool(told(owner, StoreCompacted)))
            assert owner.store(0).get(fact(2)) == VALUE
    (line,) = [line for line in said if "still on the disk" in line["event"]]
    assert (line["log_level"], "disk is full" in line["error"]) == ("warning", True)


async def test_mirrors_of_others_partitions(
    chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay for the set time and no longer; at a start they are looked at as well; our own stay."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=3, state_keep_unowned_seconds=1800)
    directory = settings.data_dir / "state" / settings.customers_topic
    async with own(settings) as owner:
        await owner.owns(0, 1, 2)
        for number in range(3):
            await owner.writes(number, {fact(number): VALUE})
        await owner.owns(0, 1)
        await owner.owns(0, 1, 2)
        assert owner.records_read == 0  # it came back in time
        await owner.owns(0)
    for name in ("1-0", "2-3"):  # a place of a second process, too
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "data.mdb.new").write_bytes(b"left over")
    async with own(settings.model_copy(update={"state_keep_unowned_seconds": 0})) as owner:
        await owner.owns(0)
        await until(lambda: sorted(path.name for path in directory.iterdir() if path.is_dir()) == ["0-0"])
        await until(lambda: {event.partition for event in told(owner, StoreRemoved)} == {1, 2})
        await owner.owns(0, 1)
        assert owner.store(1).get(fact(1)) == VALUE
        assert owner.store(0).get(fact(0)) == VALUE


async def test_a_mirror_that_another_process_has(
    chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers of one data directory leave each other's files alone."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=2, state_keep_unowned_seconds=0)
    async with own(settings) as one, own(settings) as other:
        await one.owns(0)
        await other.owns(1)
        await one.writes(0, {fact(0): VALUE})
        await other.writes(1, {fact(1): VALUE})
        looks = asyncio.Event()
        ours = directory_module.unused

        def unused(base: Path, for_s: float) -> list[tuple[int, int]]:
            looks.set()
            return ours(base, for_s)

        monkeypatch.setattr(cleanup, "unused", unused)
        for _ in range(4):
            looks.clear()
            async with asyncio.timeout(PATIENCE_S):
                await looks.wait()
        await one.writes(0, {fact(2): VALUE})
        await other.writes(1, {fact(3): VALUE})
        assert not told(one, StoreRemoved) + told(other, StoreRemoved)


async def test_the_last_copy_is_kept(chain_settings: ChainSettings, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror of somebody else's partition that holds what the topic lost is no rubbish."""
    monkeypatch.setattr(cleanup, "LOOK_S", 0.05)
    settings = await chain_settings(partitions=2, state_keep_unowned_seconds=0)
    async with own(settings.model_copy(update={"state_keep_unowned_seconds": 1800})) as owner:
        await owner.owns(0, 1)
        await owner.writes(1, {fact(number): VALUE for number in range(20)})
    await make_anew(settings, 2)
    with capture_logs() as said:
        async with own(settings) as owner:
            await owner.owns(0)
            await until(lambda: any("it holds more than the topic" in line["event"] for line in said))
            assert not told(owner, StoreRemoved)
    store = LmdbStore.open(settings.data_dir / "state", settings.customers_topic, 1, CUSTOMERS)
    assert store.get(fact(7)) == VALUE
    store.close()


# --- workers ----------------------------------------------------------------------------------------------------------


def customers() -> list[tuple[str, str, str]]:
    """Id, address and name of two customers for each partition: the first is to be forgotten."""
    by_partition: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    number = 0
    while any(len(ids) < 2 for ids in by_partition.values()):
        number += 1
        id_ = f"cus_0NExample{number:07d}"
        ids = by_partition[partition_of(id_.encode(), PARTITIONS)]
        if len(ids) < 2:
            ids.append(id_)
    ordered = [ids[place] for place in range(2) for ids in by_partition.values()]
    return [(id_, f"mail-{id_[-7:]}@example.com", f"Name Of {id_[-7:]}") for id_ in ordered]


async def send(settings: Settings, records: Iterable[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> None:
    """Write them where their keys belong."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for key, value, headers in records:
            place = partition_of(key, PARTITIONS)
            await producer.send(settings.webhooks_topic, value, key=key, headers=headers, partition=place)
        await producer.flush()
    finally:
        await producer.stop()


def webhooks(people: Iterable[tuple[str, str, str]], round_: int) -> Iterable[tuple[bytes, bytes, Any]]:
    """Payments and subscriptions of each of them."""
    now = int(time.time())
    for type_ in ("payment.succeeded", "subscription.active"):
        body = json.loads(samples.load(type_))
        for id_, mail, name in people:
            body["data"]["customer"] |= {"customer_id": id_, "email": mail, "name": name}
            for field in ("payment_id", "subscription_id"):
                if body["data"].get(field):
                    body["data"][field] = f"{field[:3]}_{id_}_{round_}"
            headers = [
                ("webhook-id", f"msg_{type_}_{id_}_{round_}".encode()),
                ("webhook-timestamp", b"%d" % (now - 60)),
            ]
            yield id_.encode(), json.dumps(body).encode(), headers


def found_of(person: tuple[str, str, str], directory: Path) -> list[str]:
    """What the disk has of a person: the address, the name, and the id anywhere but in the marks."""
    id_, mail, name = person
    facts = re.compile(re.escape(id_.encode()) + rb"\0(?!forgotten\0|request\0)")
    return [
        f"{what} in {path}"
        for path, data in files_of(directory).items()
        for what, is_there in (
            ("address", mail.encode() in data),
            ("name", name.encode() in data),
            ("id", facts.search(data) is not None),
        )
        if is_there
    ]


async def test_every_worker_s_disk_after_a_request(
    chain_settings: ChainSettings,
    make_fleet: Callable[[Settings], Fleet],
    facts_in: Callable[[Settings], Awaitable[list[Fact]]],
) -> None:
    """No byte of a forgotten customer is left, on an owner's disk or a former owner's; the others are as before."""
    settings = await chain_settings(
        partitions=PARTITIONS, metadata_keys=("plan",), state_erase_after_seconds=2, state_keep_unowned_seconds=2
    )
    settings.data_dir.mkdir()
    disks = [settings.data_dir / "a", settings.data_dir / "b"]
    fleet, people = make_fleet(settings), customers()
    gone, stay = people[:PARTITIONS], people[PARTITIONS:]
    first = fleet.start(PIPELINE_DATA_DIR=str(disks[0]), PIPELINE_STATE_KEEP_UNOWNED_SECONDS="2")
    await send(settings, [*webhooks(people, 1), *webhooks(people, 2)])
    await fleet.caught_up()
    await first.until(lambda: all(len(found_of(person, disks[0])) == 3 for person in people))

    second = fleet.start(PIPELINE_DATA_DIR=str(disks[1]))
    await second.owns(PARTITIONS // 2)
    await send(settings, webhooks(people, 3))
    await fleet.caught_up()
    at_s = int(time.time())
    requests = [forget_record(id_, customerio="delete", at_s=at_s) for id_, _, _ in gone]
    await send(settings, [(one.key or b"", one.value or b"", list(one.headers)) for one in requests])
    await fleet.caught_up()
    await first.until(lambda: not any(found_of(person, disk) for person in gone for disk in disks))

    for id_, mail, name in stay:
        places = [path for path, data in files_of(*disks).items() if mail.encode() in data and name.encode() in data]
        assert len({path.parent for path in places}) == 1, (id_, places)  # with its owner, and nowhere else
    shared = second.place
    assert await first.stop() == 0, first.text[-6000:]
    await second.owns(PARTITIONS, since=shared)
    await send(settings, webhooks(stay, 4))
    await fleet.caught_up()
    assert await second.stop() == 0, second.text[-6000:]
    assert "built anew" not in second.text.split('"Customers\' state restored"')[-1]
    latest = {(one.partition, one.key): one.value for one in await facts_in(settings)}
    for partition in range(PARTITIONS):
        store = LmdbStore.open(disks[1] / "state", settings.customers_topic, partition, CUSTOMERS)
        wanted = {key: value for (place, key), value in latest.items() if place == partition and value is not None}
        assert dict(store.scan(b"")) == wanted
        store.close()
