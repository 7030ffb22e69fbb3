"""Stores on a real Apache Kafka, and what lies in the customers' topic."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.simulator import Shop
from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import OutRecord, text_header
from pipeline.settings import Settings
from pipeline.statestore.lmdb_store import LmdbStore
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Operations
from tests.admin import admin_client, until_done
from tests.kafka.growth import has_grown
from tests.statestore.conftest import Fact, Owner, facts_in, facts_of, latest, own, put, records_of
from tests.workers import WorkerProcess

__all__ = ["Fact", "Owner", "facts_in", "own", "put", "records_of"]

ChainSettings = Callable[..., Awaitable[Settings]]


# --- whole workers ----------------------------------------------------------------------------------------------------

FAULTY = Path(__file__).with_name("faulty_worker.py")
DODO_CIO = (sys.executable, "-m", "pipeline", "transform")


class Worker(WorkerProcess):
    """A transform in a process of its own."""

    async def owns(self, partitions: int, since: int = 0) -> None:
        """Wait until it said that so many partitions were assigned."""
        await self.says('"Partitions assigned"', f'"partitions": {partitions},', since=since)


class Fleet:
    """Workers of one chain."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], directory: Path) -> None:
        self.settings = settings
        self._environ = {**environ, "PIPELINE_LOG_FORMAT": "json"}
        self._directory = directory
        self.workers: list[Worker] = []

    def start(self, *, step: str = "", count: int = 1, what: str = "SIGKILL", **environ: str) -> Worker:
        """One more; with a `step`, it gets the signal `what` at the `count`-th time that it comes there."""
        command = (sys.executable, str(FAULTY), step, str(count), what) if step else DODO_CIO
        log = self._directory / f"worker-{len(self.workers)}.log"
        self.workers.append(Worker(command, {**self._environ, **environ}, log))
        return self.workers[-1]

    async def evict(self) -> None:
        """Let the group forget its dead members now, instead of after their session."""
        group = self.settings.transform_group
        async with admin_client(self.settings) as client:
            node = await client.find_coordinator(group)
            answer = await client._send_request(
                DescribeGroupsRequest([group], include_authorized_operations=False), node
            )
            for member in answer.to_object()["groups"][0]["members"]:
                await client._send_request(LeaveGroupRequest(group, member["member_id"]), node)

    async def caught_up(self) -> None:
        """Wait until the group has committed all webhooks, and what the workers add to them."""
        await until_done(self.settings, self.settings.transform_group, self.settings.webhooks_topic, self._any_alive)

    def _any_alive(self) -> None:
        assert any(worker.process.poll() is None for worker in self.workers), self.last_words

    @property
    def last_words(self) -> str:
        """How each worker ended: of one that should not have, the others' logs say nothing."""
        return "\n\n".join(f"exit code {worker.process.poll()}: {worker.text[-6000:]}" for worker in self.workers)

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            worker.kill()


@pytest.fixture
def make_fleet(
    environment: Callable[[Settings], dict[str, str]], tmp_path: Path
) -> Iterator[Callable[[Settings], Fleet]]:
    """Makes the fleet of a chain; its processes end with the test."""
    fleets: list[Fleet] = []

    def make(settings: Settings) -> Fleet:
        directory = tmp_path / f"fleet-{len(fleets)}"
        directory.mkdir()
        fleets.append(Fleet(settings, environment(settings), directory))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


OF_MONEY = {"payment_completed", "refund_succeeded"}
"""Events with an id of their own fact: the same in every order."""


class ShopTraffic:
    """A generated shop's deliveries in the webhooks' topic, and its own books.

    `events` are the op-ids of the events that they become in a worker that nothing ever happens to, `payments` those
    of them that a payment or refund is told by; `records` is what was written.
    """

    def __init__(self, settings: Settings, seed: int, partitions: int) -> None:
        self.settings = settings
        self.shop = Shop(seed, datetime(2026, 11, 1, tzinfo=UTC))
        self.events: set[str] = set()
        self.payments: set[str] = set()
        self.records: list[OutRecord] = []
        self.partitions = partitions
        self._store = MemoryStore(int(time.time() * 1000))
        self._policy = Policy.of(settings)

    @property
    def spent(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Customer → currency → (paid, refunded), as the shop's books have it."""
        return self.shop.ledger.spent

    async def deliver(self, count: int, place: Callable[[bytes], tuple[bytes | None, int]] | None = None) -> None:
        """So many deliveries, forged ones aside, as ingest would write them, or with the key and partition of `place`.

        `place` is given the key that ingest would take.
        """
        await has_grown(self.settings, self.partitions, self.settings.webhooks_topic)
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, linger_ms=5)
        await producer.start()
        try:
            sends = []
            for delivery in self.shop.deliveries(count):
                if delivery.kind in {"forged", "unreadable"}:
                    continue
                key = kafka_key(parse(delivery.body), delivery.webhook_id)
                headers = [
                    ("webhook-id", delivery.webhook_id.encode()),
                    ("webhook-timestamp", b"%d" % delivery.timestamp),
                    ("received-at", b"%d" % (delivery.timestamp * 1000 + 250)),
                ]
                topic, partition = self.settings.webhooks_topic, partition_of(key, self.partitions)
                written, where = (key, partition) if place is None else place(key)
                self.records.append(OutRecord(key, delivery.body, tuple(headers)))
                sends.append(await producer.send(topic, delivery.body, key=written, headers=headers, partition=where))
                record = FetchedRecord(topic, partition, 0, 0, 0, key, delivery.body, headers)
                verdict = decide(record, self._policy, map_webhook, self._store).verdict
                if isinstance(verdict, Operations):
                    self.events |= {one.op_id for one in verdict.operations if one.kind == "event"}
                    self.payments |= {one.op_id for one in verdict.operations if one.name in OF_MONEY}
            await asyncio.gather(*sends)
        finally:
            await producer.stop()


@pytest.fixture
def make_shop() -> Callable[[Settings, int, int], ShopTraffic]:
    """Makes a shop of some seed, for so many partitions."""
    return ShopTraffic


def totals_of(values: Mapping[tuple[int, bytes], bytes]) -> dict[str, dict[str, tuple[int, int]]]:
    """Customer → currency → (paid, refunded): a plain sum over facts, without what is nothing."""
    payments: dict[tuple[bytes, bytes], tuple[int, str]] = {}
    refunds: dict[tuple[bytes, bytes], list[int | None]] = {}
    for (_, key), value in values.items():
        customer, kind, payment, *_ = key.split(b"\0")
        if kind == b"payment":
            minor, currency, *_ = json.loads(value)
            payments[customer, payment] = (minor, currency)
        elif kind == b"refund":
            refunds.setdefault((customer, payment), []).append(json.loads(value)[0])
    totals: dict[str, dict[str, tuple[int, int]]] = {}
    for (customer, payment), (minor, currency) in payments.items():
        back = refunds.get((customer, payment), [])
        told = sum(amount for amount in back if amount is not None)
        refunded = minor if None in back else told  # without an amount it is all that is left
        purse = totals.setdefault(customer.decode(), {})
        paid, returned = purse.get(currency, (0, 0))
        purse[currency] = (paid + minor, returned + refunded)
    return {
        customer: kept
        for customer, purse in totals.items()
        if (kept := {currency: sums for currency, sums in purse.items() if sums != (0, 0)})
    }


async def sent_of(settings: Settings) -> list[tuple[dict[str, Any], str]]:
    """Every operation with its `op-id`, in the order of sending."""
    records = await records_of(settings, settings.operations_topic)
    return [
        (json.loads(r.value), text_header(r.headers, "op-id") or "")
        for r in sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))
    ]


async def operations_of(settings: Settings) -> list[tuple[str, str]]:
    """Action and `op-id` of every operation, in the order of sending."""
    return [(operation["action"], op_id) for operation, op_id in await sent_of(settings)]


@pytest.fixture
def sent() -> Callable[[Settings], Awaitable[list[tuple[dict[str, Any], str]]]]:
    """Reads the operations back."""
    return sent_of


@dataclass(frozen=True)
class Books:
    """What became of a shop's deliveries."""

    totals: dict[str, dict[str, tuple[int, int]]]
    """By the latest facts of the topic."""

    facts: int
    """Records in the customers' topic."""

    events: set[str]
    mirrored: bool
    """Every mirror that was found on the disk equals the topic."""


async def books_of(settings: Settings, partitions: int) -> Books:
    """Read everything back, once all workers have ended."""
    facts = await facts_of(settings)
    values = latest(facts)
    mirrored = True
    for partition in range(partitions):
        local = LmdbStore.open(settings.data_dir / "state", settings.customers_topic, partition, CUSTOMERS)
        stored = {(partition, key): value for key, value in local.scan(b"")}
        local.close()
        mirrored &= stored == {place: value for place, value in values.items() if place[0] == partition}
    operations = await operations_of(settings)
    return Books(totals_of(values), len(facts), {op_id for action, op_id in operations if action == "event"}, mirrored)


@pytest.fixture
def read_books() -> Callable[[Settings, int], Awaitable[Books]]:
    """Reads back what became of a shop's deliveries."""
    return books_of
