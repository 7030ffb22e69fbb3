"""Workers on a real Apache Kafka while producers key as they like and the topics grow: totals stay the shop's."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import text_header
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN
from pipeline.transform.customers.facts import split
from tests import forked
from tests.transform.customers.conftest import records_of

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Books, Fact, Fleet, ShopTraffic

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
MakeFleet = Callable[[Settings], "Fleet"]
MakeShop = Callable[[Settings, int, int], "ShopTraffic"]
ReadBooks = Callable[[Settings, int], Awaitable["Books"]]
FactsIn = Callable[[Settings], Awaitable[list["Fact"]]]
Sent = Callable[[Settings], Awaitable[list[tuple[dict[str, Any], str]]]]
Environment = Callable[[Settings], dict[str, str]]


def events(sent: list[tuple[dict[str, Any], str]]) -> Counter[str]:
    """How often each event was told."""
    return Counter(op_id for operation, op_id in sent if operation["action"] == "event")


def profiles(sent: list[tuple[dict[str, Any], str]]) -> dict[str, dict[str, int]]:
    """Customer -> currency -> minor units, as the last identify of each said; what is nothing is left out."""
    latest: dict[str, dict[str, int]] = {}
    for operation, _ in sent:
        if operation["action"] == "identify":
            told = {
                name.removeprefix("total_spent_").removesuffix("_minor").upper(): value
                for name, value in operation["attributes"].items()
                if name.startswith("total_spent_") and name.endswith("_minor") and name != "total_spent_minor"
            }
            latest[operation["identifiers"]["id"]] = {code: minor for code, minor in told.items() if minor}
    return {customer: purse for customer, purse in latest.items() if purse}


def ledger(shop: ShopTraffic) -> dict[str, dict[str, int]]:
    """The same by the shop's own books."""
    found = {
        customer: {code: paid - back for code, (paid, back) in purse.items() if paid - back}
        for customer, purse in shop.spent.items()
    }
    return {customer: purse for customer, purse in found.items() if purse}


def misplaced(facts: list[Fact], partitions: int) -> list[bytes]:
    """Facts that lie elsewhere than at their owner."""
    values = {(fact.partition, fact.key): fact.value for fact in facts if fact.key != BEGAN}
    return [
        key
        for (partition, key), value in values.items()
        if value is not None and partition_of(split(key)[0], partitions) != partition
    ]


async def caught_up(fleet: Fleet) -> None:
    """Everything is decided, copies that were sent on included."""
    await fleet.caught_up()
    await fleet.caught_up()


async def replay(shop: ShopTraffic) -> None:
    """Every webhook once more, in the old order, by its key."""
    producer = AIOKafkaProducer(bootstrap_servers=shop.settings.kafka_bootstrap_servers, linger_ms=5)
    await producer.start()
    try:
        for record in shop.records:
            partition = partition_of(record.key or b"", shop.partitions)
            await producer.send(
                shop.settings.webhooks_topic,
                record.value,
                key=record.key,
                headers=list(record.headers),
                partition=partition,
            )
        await producer.flush()
    finally:
        await producer.stop()


class Command:
    """`dodo-cio` in a process of its own."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        self._environ = environment(settings)
        self._directory = settings.data_dir

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Its exit code, and what it said."""
        self._directory.mkdir(exist_ok=True)
        words = [*forked.PROGRAM, *arguments]
        done = await asyncio.to_thread(forked.run, words, env=self._environ, cwd=self._directory)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True)
class Rig:
    """What both tests need."""

    make_fleet: MakeFleet
    make_shop: MakeShop
    read_books: ReadBooks
    facts_in: FactsIn
    sent: Sent
    environment: Environment


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    """The fixtures of this room, as one."""
    return Rig(**{name: request.getfixturevalue(name) for name in Rig.__dataclass_fields__})


async def test_producers_that_key_otherwise(chain_settings: ChainSettings, rig: Rig) -> None:
    """Keyless webhooks, foreign keys, another partitioner: one customer, one owner, totals and events of the shop."""
    settings = await chain_settings(partitions=4)
    settings.data_dir.mkdir()
    fleet, shop, dice = rig.make_fleet(settings), rig.make_shop(settings, 21, 4), random.Random(3)

    def place(key: bytes) -> tuple[bytes | None, int]:
        return dice.choice([(None, dice.randrange(4)), (b"order-%d" % dice.randrange(99), dice.randrange(4)), (key, 3)])

    workers = [fleet.start(PIPELINE_DATA_DIR=str(settings.data_dir / name)) for name in "ab"]
    for _ in range(2):
        await shop.deliver(400, place)
    await caught_up(fleet)
    metrics = [worker.text for worker in workers]
    for worker in workers:
        assert await worker.stop() == 0, worker.text[-6000:]
    assert not any("Traceback" in text for text in metrics)

    books = await rig.read_books(settings.model_copy(update={"data_dir": settings.data_dir / "a"}), 4)
    assert books.totals == shop.spent
    assert misplaced(await rig.facts_in(settings), 4) == []
    told = await rig.sent(settings)
    assert profiles(told) == ledger(shop)
    assert {op_id for op_id in events(told) if op_id in shop.payments} == shop.payments

    records = await records_of(settings, settings.webhooks_topic)
    copies = [record for record in records if text_header(record.headers, "repartitioned-from")]
    assert len(copies) > 300
    assert all(record.partition == partition_of(record.key, 4) for record in copies)
    origins = [text_header(record.headers, "repartitioned-from") for record in copies]
    assert len(set(origins)) == len(origins)


async def test_killed_between_the_copy_and_the_commit(chain_settings: ChainSettings, rig: Rig) -> None:
    """The webhook is sent on once more, and what it tells counts and is told once."""
    settings = await chain_settings(partitions=2)
    settings.data_dir.mkdir()
    fleet, shop = rig.make_fleet(settings), rig.make_shop(settings, 23, 2)
    await shop.deliver(300, lambda key: (None, 1 - partition_of(key, 2)))  # all of it lies in the wrong place
    for step in ("outputs-durable", "acknowledged"):
        worker = fleet.start(step=step)
        assert await worker.ended() == -signal.SIGKILL, worker.text[-6000:]
        await fleet.evict()
    worker = fleet.start()
    await caught_up(fleet)
    assert await worker.stop() == 0, worker.text[-6000:]
    copies = Counter(
        text_header(r.headers, "repartitioned-from") for r in await records_of(settings, settings.webhooks_topic)
    )
    del copies[None]
    assert max(copies.values()) > 1  # else nothing was killed in between
    books = await rig.read_books(settings, 2)
    assert books.totals == shop.spent
    told = await rig.sent(settings)
    assert profiles(told) == ledger(shop)
    assert {op_id for op_id in events(told) if op_id in shop.payments} == shop.payments
    assert misplaced(await rig.facts_in(settings), 2) == []


async def test_topics_that_grow(chain_settings: ChainSettings, rig: Rig) -> None:  # noqa: PLR0915 - one life
    """4 to 6 to 12 partitions with traffic before and after, drained and under a running worker, replays included.

    Totals are the shop's, nothing is told twice, and every customer lies in one place.
    """
    settings = await chain_settings(partitions=4)
    settings.data_dir.mkdir()
    fleet, shop, command = rig.make_fleet(settings), rig.make_shop(settings, 22, 4), Command(settings, rig.environment)
    worker = fleet.start()
    await shop.deliver(400)
    await fleet.caught_up()

    grow = ("topics", "apply", "--add-partitions", "--yes", "--partitions", "6")
    code, said = await command.run(*grow)
    assert (code, "stop every transform first" in said) == (2, True), said
    assert await worker.stop() == 0
    code, said = await command.run(*grow)
    assert (code, "all lie at their owners in 6 partitions" in said) == (0, True), said
    assert misplaced(await rig.facts_in(settings), 6) == []
    shop.partitions = 6
    worker = fleet.start()
    await shop.deliver(400)
    await fleet.caught_up()
    told = await rig.sent(settings)
    assert set(events(told)) == shop.events
    assert profiles(told) == ledger(shop)
    await replay(shop)
    await fleet.caught_up()
    again = await rig.sent(settings)
    assert events(again) == events(told)
    assert profiles(again) == ledger(shop)

    async with open_admin(settings) as admin:
        await admin.add_partitions(settings.webhooks_topic, 12)
        await admin.add_partitions(settings.customers_topic, 12)
    shop.partitions = 12
    sending = asyncio.create_task(shop.deliver(400))
    async with asyncio.timeout(300):
        assert await worker.ended() == 2, worker.text[-6000:]
    assert "Traceback" not in worker.text
    await sending
    assert f"topic {settings.webhooks_topic} has 12 partitions" in worker.text
    assert "were written under 6" in worker.text
    assert "`dodo-cio state repartition`" in worker.text

    refused = fleet.start()
    assert await refused.ended() == 2
    assert "were written under 6" in refused.text
    await fleet.evict()
    code, said = await command.run("state", "repartition", "--yes")
    assert (code, "--with-backlog" in said) == (2, True), said
    code, said = await command.run("state", "repartition", "--dry-run", "--json")
    assert (code, '"written_under"' in said, '"moved": 0' in said) == (0, True, True), said
    code, said = await command.run("state", "repartition", "--with-backlog")
    assert (code, "--yes" in said) == (2, True), said
    code, said = await command.run("state", "repartition", "--with-backlog", "--yes")
    assert code == 0, said

    worker = fleet.start()
    await shop.deliver(300)
    await caught_up(fleet)
    await replay(shop)
    await caught_up(fleet)
    assert await worker.stop() == 0, worker.text[-6000:]
    books = await rig.read_books(settings, 12)
    assert books.totals == shop.spent
    assert books.mirrored
    assert misplaced(await rig.facts_in(settings), 12) == []
    last = await rig.sent(settings)
    assert profiles(last) == ledger(shop)
    assert {op_id for op_id in events(last) if op_id in shop.payments} == shop.payments
    assert [op_id for op_id, times in events(last).items() if op_id in shop.payments and times > 1] == []
    code, said = await command.run("state", "repartition", "--yes")
    assert (code, "Nothing to do" in said) == (0, True), said
