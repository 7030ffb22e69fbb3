"""Backfill, forget and look-ups from end to end: Dodo's API, Apache Kafka, both workers, and the sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.people import Person
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.deadletters.envelope import dead_letter_of
from pipeline.dodo import samples
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings
from tests import forked
from tests.admin import until_done
from tests.dodo.stand_in import LIVE_KEY, Account, serving
from tests.sink.kafka.test_removals import set_back

pytestmark = pytest.mark.kafka

NOW = datetime.now(UTC)
PARTITIONS = 3
PATIENCE_S = 300.0
PATIENT = Path(__file__).parents[1] / "transform" / "patient_worker.py"


class Chain:
    """Transform and sink as processes between topics of their own, an account at Dodo and a sandbox."""

    def __init__(
        self, settings: Settings, environ: dict[str, str], account: Account, server: SandboxServer, directory: Path
    ) -> None:
        self.settings = settings
        self.account = account
        self._environ = {**environ, "PIPELINE_LOG_FORMAT": "json"}
        self._server = server
        self._directory = directory
        self._workers: list[tuple[subprocess.Popen[bytes], Path]] = []

    def configure(self, **environ: str) -> None:
        """Set variables of the workers that are started from now on, and of commands."""
        self._environ |= environ

    def start(self, **scripts: Path) -> None:
        """Start both workers; of a stage that is named, this script."""
        for stage in ("transform", "sink"):
            words = [str(scripts[stage])] if stage in scripts else ["-m", "pipeline", stage]
            log = self._directory / f"{stage}.log"
            with log.open("wb") as stream:
                process = forked.Popen[bytes]([sys.executable, *words], env=self._environ, stdout=stream, stderr=stream)
            self._workers.append((process, log))

    def end(self) -> None:
        """Leave no process behind."""
        for process, _ in self._workers:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()

    async def stop(self) -> list[int]:
        """SIGTERM; the exit codes."""
        for process, _ in self._workers:
            process.send_signal(signal.SIGTERM)
        codes = [await asyncio.to_thread(process.wait, PATIENCE_S) for process, _ in self._workers]
        self._workers.clear()
        return codes

    async def write(self, topic: str, record: OutRecord) -> None:
        """Append one record to a topic."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        await producer.send_and_wait(topic, record.value, record.key, headers=list(record.headers))
        await producer.stop()

    async def run(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """The summary of `dodo-cio … --yes --json`, which must end with this code."""
        words = [*forked.PROGRAM, *arguments, "--yes", "--json"]
        done = await asyncio.to_thread(forked.run, words, env=self._environ)
        assert done.returncode == exit_code, (done.stdout, done.stderr)
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    async def produce(self, deliveries: Iterable[Delivery]) -> None:
        """Put webhooks into the topic, as ingest would, each customer's in order."""
        records = [
            OutRecord(
                kafka_key(parse(delivery.body), delivery.webhook_id),
                delivery.body,
                (
                    ("webhook-id", delivery.webhook_id.encode()),
                    ("webhook-timestamp", b"%d" % delivery.timestamp),
                    ("received-at", b"%d" % (delivery.timestamp * 1000 + 250)),
                ),
            )
            for delivery in deliveries
        ]
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, enable_idempotence=True)
        await producer.start()
        try:
            sends = [
                await producer.send(self.settings.webhooks_topic, r.value, r.key, headers=list(r.headers))
                for r in records
            ]
            await asyncio.gather(*sends)
        finally:
            await producer.stop()

    async def settled(self) -> None:
        """Return when everything that lies in the topics has been carried out."""
        await self.delivered()
        assert await self.stored(self.settings.dead_letters_topic, 1) == []

    async def delivered(self) -> None:
        """The same, whatever became a dead letter."""
        await self._done(self.settings.transform_group, self.settings.webhooks_topic)
        await self._done(self.settings.sink_group, self.settings.operations_topic)

    async def _done(self, group: str, topic: str) -> None:
        await until_done(self.settings, group, topic, self._alive)

    def _alive(self) -> None:
        for process, log in self._workers:
            assert process.poll() is None, log.read_text(encoding="utf-8")

    async def stored(self, topic: str, partitions: int = PARTITIONS) -> list[tuple[bytes | None, bytes | None]]:
        """Keys and values of a topic."""
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found = []
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key, record.value) for record in records]
            return found
        finally:
            await consumer.stop()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What arrived at Customer.io for the first time."""
        events = [event.as_json() for event in self._server.sandbox.workspace.events]
        found: list[dict[str, Any]] = orjson.loads(orjson.dumps(events))
        return found

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Every operation that arrived, in order."""
        bodies = (one.body for one in self._server.sandbox.requests if one.path == "/api/v2/batch")
        return [operation for body in bodies if body for operation in orjson.loads(body)["batch"]]

    @property
    def people(self) -> dict[str | None, Person]:
        """The people of the workspace by id."""
        return {person.id: person for person in self._server.sandbox.workspace.people}

    def log_of(self, stage: str) -> str:
        """What a worker said."""
        return (self._directory / f"{stage}.log").read_text(encoding="utf-8")


@pytest.fixture
async def chain(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> AsyncIterator[Chain]:
    """A chain whose workers are not started yet, and an empty account without a limit."""
    async with AsyncExitStack() as stack:
        account = Account(limits=())
        url = await stack.enter_async_context(serving(account))
        server = await stack.enter_async_context(SandboxServer(SandboxConfig(environment_id=1)))
        settings = await chain_settings(
            partitions=PARTITIONS,
            dodo_api_key=LIVE_KEY,
            dodo_api_url=url,
            customerio_url=server.url,
            customerio_site_id="site",
            customerio_api_key="key",
        )
        chain = Chain(settings, environment(settings), account, server, tmp_path)
        stack.callback(chain.end)
        yield chain


def sales(deliveries: Sequence[Delivery]) -> set[str]:
    """The payments that these webhooks tell, and that are money spent."""
    found = set()
    for delivery in deliveries:
        body = orjson.loads(delivery.body)
        data = body["data"]
        if body["type"] == "payment.succeeded" and data["total_amount"] and not data["is_update_payment_method"]:
            found.add(data["payment_id"])
    return found


def spent(chain: Chain) -> dict[str | None, dict[str, int]]:
    """Minor units by customer and currency, as the profiles show them."""
    return {
        name: {
            attribute.removeprefix("total_spent_").removesuffix("_minor").upper(): value
            for attribute, value in person.attributes.items()
            if attribute.startswith("total_spent_")
            and attribute.endswith("_minor")
            and attribute != "total_spent_minor"
        }
        for name, person in chain.people.items()
    }


async def test_shop_that_existed_before(chain: Chain) -> None:
    """Backfilled totals and live ones add up to the shop's books; webhooks are told, once, and the backfill is not.

    The last webhooks of the past come late, after the backfill has brought their facts: each still emits its event.
    """
    shop = Shop(23, NOW)
    firsts = [delivery for delivery in shop.deliveries(900) if delivery.kind == "first"]
    past, late, live = firsts[:500], firsts[400:500], firsts[500:]
    chain.account.learn(delivery.body for delivery in past)
    chain.start()
    told = await chain.run("backfill", "--from", "2000-01-01", "--rate", "100000")
    assert told["objects"]["payments"] > 50
    await chain.settled()
    assert (chain.events, chain.people) == ([], {})

    await chain.produce([*late, *live, *late[:20], *live[:20]])
    await chain.settled()
    completed = Counter(e["attributes"]["payment_id"] for e in chain.events if e["name"] == "payment_completed")
    assert completed == Counter(sales([*late, *live]))
    assert sales(late) & {p for p, data in chain.account.objects["payments"].items() if data["status"] == "succeeded"}

    before = len(chain.events)
    await chain.run("backfill", "--from", "2000-01-01", "--rate", "100000", "--emit", "identify")
    await chain.settled()
    assert len(chain.events) == before
    books = {
        customer_id: {currency: paid - refunded for currency, (paid, refunded) in purse.items()}
        for customer_id, purse in shop.ledger.spent.items()
    }
    seen = spent(chain)
    assert {name: seen.get(name) for name in books} == books
    assert len(books) > 50


async def keys_left(chain: Chain, customer_id: str) -> set[str]:
    """The kinds of facts about a customer that compaction leaves in the customers' topic."""
    latest = dict(await chain.stored(chain.settings.customers_topic))
    begins = customer_id.encode() + b"\0"
    return {key.split(b"\0")[1].decode() for key, value in latest.items() if key and key.startswith(begins) and value}


def two_have_paid(chain: Chain) -> None:
    """Dodo knows a payment of each of two customers, of whom one is to leave."""
    for number, customer_id in enumerate(("cus_leaves", "cus_stays")):
        chain.account.objects["payments"][f"pay_{number}"] = {
            "payment_id": f"pay_{number}",
            "created_at": (NOW - timedelta(days=3)).isoformat(),
            "status": "succeeded",
            "total_amount": 4900,
            "currency": "USD",
            "customer": {"customer_id": customer_id, "email": f"{customer_id}@example.com", "name": "A"},
        }


async def test_forgotten_stays_forgotten(chain: Chain) -> None:
    """A forgotten customer is gone from the state and from Customer.io, and comes back only where it is asked for."""
    two_have_paid(chain)
    backfill = ("backfill", "--from", "2026-01-01", "--rate", "100000", "--emit", "identify")
    chain.start()
    await chain.run(*backfill)
    await chain.settled()
    assert set(chain.people) == {"cus_leaves", "cus_stays"}
    assert await keys_left(chain, "cus_leaves") == {"payment", "identity"}

    await chain.run("forget", "cus_leaves", "--customerio", "delete")
    await chain.settled()
    assert set(chain.people) == {"cus_stays"}
    assert await keys_left(chain, "cus_leaves") == {"forgotten", "request"}
    assert await keys_left(chain, "cus_stays") == {"payment", "identity"}

    await chain.run(*backfill)
    await chain.settled()
    assert set(chain.people) == {"cus_stays"}
    assert await keys_left(chain, "cus_leaves") == {"forgotten", "request"}

    await chain.run(*backfill, "--revive")
    await chain.settled()
    assert spent(chain) == {"cus_leaves": {"USD": 4900}, "cus_stays": {"USD": 4900}}
    assert chain.events == []


async def test_who_stood_in_is_forgotten_too(chain: Chain) -> None:
    """A webhook that names the customer by id alone went to that id: nothing of it is left, whatever its partition."""
    chain.configure(PIPELINE_PERSON_ID="metadata.user")
    at_s = int(NOW.timestamp())
    licence, payment = (orjson.loads(samples.load(type_)) for type_ in ("license_key.created", "payment.succeeded"))
    licence["data"]["customer_id"] = "cus_leaves"
    payment["data"]["customer"] |= {"customer_id": "cus_leaves", "metadata": {"user": "u_1"}}
    chain.start()
    await chain.produce(
        Delivery(orjson.dumps(body), f"msg_{number}", at_s + number, "first", body["type"], "cus_leaves")
        for number, body in enumerate((licence, payment))
    )
    await chain.settled()
    assert set(chain.people) == {"cus_leaves", "u_1"}

    await chain.run("forget", "cus_leaves", "--customerio", "delete")
    await chain.settled()
    assert chain.people == {}
    assert await keys_left(chain, "cus_leaves") == {"forgotten", "request", "shared"}


async def test_offsets_that_are_set_back_bring_nobody_back(chain: Chain) -> None:
    """The sink reads all operations once more: of whom was forgotten in between only the request goes out."""
    two_have_paid(chain)
    chain.start()
    await chain.run("backfill", "--from", "2026-01-01", "--rate", "100000", "--emit", "identify")
    await chain.settled()
    assert set(chain.people) == {"cus_leaves", "cus_stays"}
    await chain.run("forget", "cus_leaves", "--customerio", "delete")
    await chain.settled()
    assert await chain.stop() == [0, 0]

    before = len(chain.sent)
    await set_back(chain.settings)
    chain.start()
    await chain.settled()
    assert sorted((one["identifiers"]["id"], one["action"]) for one in chain.sent[before:]) == [
        ("cus_leaves", "delete"),
        ("cus_stays", "identify"),
    ]
    assert set(chain.people) == {"cus_stays"}


async def test_a_dead_letter_brings_nobody_back(chain: Chain) -> None:
    """What the sink gave up of a person is not put back once the person is forgotten and deleted."""
    chain.account.objects["payments"]["pay_1"] = {
        "payment_id": "pay_1",
        "created_at": (NOW - timedelta(days=3)).isoformat(),
        "status": "succeeded",
        "total_amount": 4900,
        "currency": "USD",
        "customer": {"customer_id": "cus_leaves", "email": "leaves@example.com", "name": "A"},
    }
    chain.start()
    await chain.run("backfill", "--from", "2026-01-01", "--rate", "100000", "--emit", "identify")
    await chain.settled()
    [(key, value)] = await chain.stored(chain.settings.operations_topic)
    letter = dead_letter_of(
        key=key, value=value, headers=(("event-time", b"%d" % int(NOW.timestamp() * 1000 - 5_000)),), stage="sink",
        class_="undeliverable", reason="it failed alone", source=f"{chain.settings.operations_topic}/0/0",
        at_ms=int(NOW.timestamp() * 1000),
    )  # fmt: skip
    await chain.run("forget", "cus_leaves", "--customerio", "delete")
    await chain.settled()
    assert chain.people == {}
    await chain.write(chain.settings.dead_letters_topic, letter)
    told = await chain.run("dlq", "replay", exit_code=1)
    assert (told["refused"], told["put_back"]) == (1, 0)
    await chain.delivered()
    assert chain.people == {}


async def test_strangers_are_looked_up(chain: Chain) -> None:
    """A webhook that names the customer by id alone reaches a person with an address; Dodo is asked once."""
    licence = orjson.loads(samples.load("license_key.created"))
    at_s = int(NOW.timestamp())
    deliveries = []
    for number, customer_id in enumerate(("cus_known", "cus_known", "cus_unknown")):
        licence["data"] |= {"id": f"lic_{number}", "customer_id": customer_id}
        deliveries.append(
            Delivery(orjson.dumps(licence), f"msg_{number}", at_s, "first", "license_key.created", customer_id)
        )
    chain.account.objects["customers"]["cus_known"] = {
        "customer_id": "cus_known",
        "email": "ann@example.com",
        "name": "Ann",
        "created_at": NOW.isoformat(),
    }
    chain.start(transform=PATIENT)
    await chain.produce(deliveries)
    await chain.settled()
    assert {name: person.email for name, person in chain.people.items()} == {
        "cus_known": "ann@example.com",
        "cus_unknown": None,
    }
    assert [event["attributes"].get("email") for event in chain.events if event["person"] == "cus_known"] == [
        "ann@example.com"
    ] * 2
    asked = Counter(path for path in chain.account.requests if path.startswith("/customers"))
    assert asked == {"/customers/cus_known": 1, "/customers/cus_unknown": 1}
    assert "ann@example.com" not in chain.log_of("transform")
    assert await keys_left(chain, "cus_known") == {"identity", "event"}
    assert await chain.stop() == [0, 0]
    assert "Traceback" not in chain.log_of("transform")
