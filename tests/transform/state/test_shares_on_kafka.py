"""People who are two customers each, on a real Apache Kafka: two workers, one of which is killed on the way."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.simulator import Shop
from pipeline.kafka.admin import open_admin
from pipeline.kafka.murmur2 import partition_of
from pipeline.settings import Settings

if TYPE_CHECKING:
    from tests.transform.state.conftest import Fleet

pytestmark = pytest.mark.kafka

PARTITIONS = 4
PATIENCE_S = 300.0


class Families:
    """A generated shop in which every two customers have one address."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shop = Shop(17, datetime(2026, 11, 1, tzinfo=UTC))
        self.address: dict[str, str] = {}

    def address_of(self, customer_id: str) -> str:
        """The address of a customer and of the next one."""
        return self.address.setdefault(customer_id, f"family{len(self.address) // 2}@example.com")

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
                    body["data"]["customer"]["email"] = self.address_of(delivery.customer_id)
                value = orjson.dumps(body)
                key = kafka_key(parse(value), delivery.webhook_id)
                headers = [
                    ("webhook-id", delivery.webhook_id.encode()),
                    ("webhook-timestamp", b"%d" % delivery.timestamp),
                ]
                topic, partition = self.settings.webhooks_topic, partition_of(key, PARTITIONS)
                sends.append(await producer.send(topic, value, key=key, headers=headers, partition=partition))
            await asyncio.gather(*sends)
        finally:
            await producer.stop()

    @property
    def spent(self) -> dict[str, dict[str, int]]:
        """Address → currency → paid less refunded, as the shop's own books have it."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for customer_id, purse in self.shop.ledger.spent.items():
            for currency, (paid, refunded) in purse.items():
                found[self.address[customer_id]][currency] += paid - refunded
        return {address: dict(purse) for address, purse in found.items()}


async def caught_up(settings: Settings, fleet: Fleet) -> None:
    """Wait until all is committed, the shares that the workers add while they work included."""
    tps = [TopicPartition(settings.webhooks_topic, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE_S), open_admin(settings) as admin:
            while await admin.committed(settings.transform_group, tps) != await consumer.end_offsets(tps):
                assert any(worker.process.poll() is None for worker in fleet.workers), fleet.workers[-1].text[-6000:]
                await asyncio.sleep(0.05)
    finally:
        await consumer.stop()


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


async def test_two_workers_tell_of_people_who_are_two_customers(
    chain_settings: Callable[..., Awaitable[Settings]], make_fleet: Callable[[Settings], Fleet]
) -> None:
    """Each person ends with both customers' totals, though a worker dies between its outputs and its facts."""
    settings = await chain_settings(partitions=PARTITIONS, person_id="email")
    fleet, shop = make_fleet(settings), Families(settings)
    settings.data_dir.mkdir(exist_ok=True)
    disks = [settings.data_dir / "a", settings.data_dir / "b"]
    doomed = fleet.start(step="outputs-durable", count=2, PIPELINE_DATA_DIR=str(disks[0]))
    other = fleet.start(PIPELINE_DATA_DIR=str(disks[1]))
    await asyncio.gather(doomed.says('"Partitions assigned"'), other.says('"Partitions assigned"'))
    await shop.deliver(300)
    await shop.deliver(300)
    assert await doomed.ended() == -signal.SIGKILL, doomed.text[-6000:]
    await fleet.evict()
    heir = fleet.start(PIPELINE_DATA_DIR=str(disks[0]))
    await heir.says('"Partitions assigned"')
    await shop.deliver(300)
    await caught_up(settings, fleet)
    assert [await worker.end() for worker in (other, heir)] == [0, 0]

    workspace = await workspace_of(settings)
    people = {person.email: person.attributes for person in workspace.people if person.email is not None}
    seen = {
        address: {
            name[len("total_spent_") : -len("_minor")].upper(): value
            for name, value in people[address].items()
            if name.startswith("total_spent_") and name.endswith("_minor") and name != "total_spent_minor"
        }
        for address in shop.spent
    }
    assert seen == shop.spent
    owners = defaultdict(set)
    for customer_id, address in shop.address.items():
        owners[address].add(partition_of(customer_id.encode(), PARTITIONS))
        owners[address].add(partition_of(f"person:{address}".encode(), PARTITIONS))
    assert sum(len(partitions) == 3 for partitions in owners.values()) > 10
