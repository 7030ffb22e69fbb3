"""People who are two customers each, on a real Apache Kafka: workers that are killed, partitions that are added."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.simulator import Shop
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.settings import Settings
from pipeline.statestore.partition_count import partitions_now
from pipeline.transform.customers.facts import person_key
from pipeline.transform.customers.repartition import Repartition
from tests.kafka import growth

if TYPE_CHECKING:
    from tests.transform.customers.conftest import Fleet

pytestmark = pytest.mark.kafka

PARTITIONS = 4
MORE = 6
PATIENCE_S = 300.0


class Families:
    """A generated shop in which every two customers have one id in their metadata, or else one address."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shop = Shop(17, datetime(2026, 11, 1, tzinfo=UTC))
        self.names: dict[str, str] = {}
        self.partitions = PARTITIONS

    def name_of(self, customer_id: str) -> str:
        """The id or address of a customer and of the next one."""
        family = len(self.names) // 2
        return self.names.setdefault(customer_id, f"u_{family}" if family % 2 else f"family{family}@example.com")

    def name(self, customer: dict[str, Any], customer_id: str) -> None:
        """Put the family's name where the chain looks for it."""
        name = self.name_of(customer_id)
        if "@" in name:
            customer["email"] = name
        else:
            customer |= {"email": f"{customer_id}@example.com", "metadata": {"family": name}}

    async def deliver(self, count: int) -> None:
        """So many deliveries, as ingest would write them."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, linger_ms=5)
        await producer.start()
        try:
            sends = []
            for delivery in self.shop.deliveries(count):
                if delivery.kind in {"forged", "unreadable"}:
                    continue
                body = orjson.loads(delivery.body)
                if isinstance(body["data"].get("customer"), dict) and delivery.customer_id is not None:
                    self.name(body["data"]["customer"], delivery.customer_id)
                value = orjson.dumps(body)
                key = kafka_key(parse(value), delivery.webhook_id)
                headers = [
                    ("webhook-id", delivery.webhook_id.encode()),
                    ("webhook-timestamp", b"%d" % delivery.timestamp),
                ]
                topic, partition = self.settings.webhooks_topic, partition_of(key, self.partitions)
                sends.append(await producer.send(topic, value, key=key, headers=headers, partition=partition))
            await asyncio.gather(*sends)
        finally:
            await producer.stop()

    @property
    def spent(self) -> dict[str, dict[str, int]]:
        """Person → currency → paid less refunded, as the shop's own books have it."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for customer_id, purse in self.shop.ledger.spent.items():
            for currency, (paid, refunded) in purse.items():
                found[self.names[customer_id]][currency] += paid - refunded
        return {name: dict(purse) for name, purse in found.items()}

    async def forget(self, customer_id: str) -> None:
        """The command to forget a customer, in the customer's own partition."""
        value = {"command": "forget", "customer_id": customer_id, "customerio": None, "at": int(time.time())}
        headers = [("dodo-command", b"forget"), ("webhook-id", b"forget_1"), ("dodo-mode", b"live")]
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            key = customer_id.encode()
            partition = partition_of(key, self.partitions)
            topic = self.settings.webhooks_topic
            await producer.send_and_wait(topic, orjson.dumps(value), key=key, headers=headers, partition=partition)
        finally:
            await producer.stop()


async def workspace_of(settings: Settings) -> Workspace:
    """What Customer.io has of the operations, each partition in its order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    workspace = Workspace(SandboxConfig())
    try:
        tps = [TopicPartition(settings.operations_topic, number) for number in range(PARTITIONS)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        left = {tp for tp in tps if ends[tp]}
        while left:
            for records in (await consumer.getmany(*left, timeout_ms=200)).values():
                for record in records:
                    workspace.apply(orjson.loads(record.value), Arrival(record.timestamp, record.offset), 0)
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return workspace


async def more_partitions(settings: Settings) -> None:
    """Add partitions and move the facts, as `topics apply --add-partitions` does."""
    await growth.grow(settings, MORE, settings.webhooks_topic, settings.customers_topic)
    work = Repartition(settings, await partitions_now(settings))
    producer = BatchProducer(settings)
    await producer.start()
    try:
        await producer.prime(settings.customers_topic)
        await work.move(producer, await work.read())
    finally:
        await work.close()
        await producer.stop()


def spent_of(attributes: dict[str, Any]) -> dict[str, int]:
    """Currency → minor units on a profile."""
    prefix, suffix = "total_spent_", "_minor"
    return {
        name[len(prefix) : -len(suffix)].upper(): value
        for name, value in attributes.items()
        if name.startswith(prefix) and name.endswith(suffix) and name != prefix[:-1] + suffix
    }


async def test_people_who_are_two_customers(
    chain_settings: Callable[..., Awaitable[Settings]], make_fleet: Callable[[Settings], Fleet]
) -> None:
    """Each ends with both totals, whichever step names them, though a worker dies and partitions are added on the way.

    Who is forgotten leaves the person with what the other customer paid.
    """
    settings = await chain_settings(partitions=PARTITIONS, person_id="metadata.family,email")
    fleet, shop = make_fleet(settings), Families(settings)
    settings.data_dir.mkdir(exist_ok=True)
    disks = [settings.data_dir / "a", settings.data_dir / "b"]
    doomed = fleet.start(step="outputs-durable", count=2, PIPELINE_DATA_DIR=str(disks[0]))
    other = fleet.start(PIPELINE_DATA_DIR=str(disks[1]))
    await asyncio.gather(doomed.says('"Partitions assigned"'), other.says('"Partitions assigned"'))
    await shop.deliver(300)
    await shop.deliver(200)
    assert await doomed.ended() == -signal.SIGKILL, doomed.text[-6000:]
    await fleet.evict()
    heir = fleet.start(PIPELINE_DATA_DIR=str(disks[0]))
    await heir.says('"Partitions assigned"')
    await fleet.caught_up()
    assert [await worker.stop() for worker in (other, heir)] == [0, 0]

    await more_partitions(settings)
    shop.partitions = MORE
    last = fleet.start(PIPELINE_DATA_DIR=str(disks[0]))
    await last.says('"Partitions assigned"')
    await shop.deliver(400)
    await fleet.caught_up()
    expected = shop.spent
    workspace = await workspace_of(settings)
    people = {name: person for person in workspace.people for name in (person.id, person.email) if name is not None}
    assert {name: spent_of(people[name].attributes) for name in expected} == expected

    couples = defaultdict(list)
    for customer_id in shop.shop.ledger.spent:
        couples[shop.names[customer_id]].append(customer_id)
    name, (leaves, stays) = next(item for item in couples.items() if len(item[1]) > 1 and item[0].startswith("u_"))
    await shop.forget(leaves)
    await fleet.caught_up()
    assert await last.stop() == 0
    (person,) = [person for person in (await workspace_of(settings)).people if person.id == name]
    purse = shop.shop.ledger.spent[stays]
    assert spent_of(person.attributes) == {currency: paid - back for currency, (paid, back) in purse.items()}

    owners = defaultdict[tuple[str, int], set[int]](set)
    for customer_id, name in shop.names.items():
        for partitions in (PARTITIONS, MORE):
            key = person_key(name, "email" if "@" in name else "id")
            owners[name, partitions] |= {partition_of(who, partitions) for who in (customer_id.encode(), key)}
    three = {name for name, _ in owners if all(len(owners[name, partitions]) == 3 for partitions in (PARTITIONS, MORE))}
    assert sum(name.startswith("u_") for name in three) > 3
    assert sum("@" in name for name in three) > 3
