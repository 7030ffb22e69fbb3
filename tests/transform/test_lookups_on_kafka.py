"""An answer of Dodo's API that does not come, on a real Apache Kafka: whom it holds, and what becomes of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from starlette.requests import Request

from pipeline.dodo import samples
from pipeline.kafka.cluster.lag import ConsumedTopic
from pipeline.kafka.cluster.lag_reader import read_lag
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from tests.dodo.stand_in import LIVE_KEY, Account, serving
from tests.transform.customers.conftest import Fleet, Worker, sent_of

pytestmark = pytest.mark.kafka

PARTITIONS = 4
PATIENCE_S = 300.0
PATIENT = Path(__file__).with_name("patient_worker.py")


def customer(number: int, partition: int) -> str:
    """The customer `number` of those whose partition this is."""
    found = (f"cus_{n:05d}" for n in range(100_000) if partition_of(b"cus_%05d" % n, PARTITIONS) == partition)
    return [next(found) for _ in range(number + 1)][-1]


SLOW, NEIGHBOUR = customer(0, 0), customer(1, 0)
OTHERS = [customer(number, partition) for partition in (1, 2, 3) for number in (0, 1)]


class Shop:
    """Webhooks of a few customers, and an account at Dodo that keeps one answer back."""

    def __init__(self, settings: Settings, account: Account, environ: dict[str, str], directory: Path) -> None:
        self.settings = settings
        self.account = account
        self.environ = {**environ, "PIPELINE_LOG_FORMAT": "json"}
        self.directory = directory
        self.fleet = Fleet(settings, environ, directory)
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.written: dict[str, list[str]] = defaultdict(list)
        account.faults.append(self._keep_back)

    async def _keep_back(self, request: Request) -> None:
        if request.url.path.endswith(SLOW):
            self.asked.set()
            await self.answer.wait()

    def start(self) -> Worker:
        """A worker that is patient."""
        log = self.directory / f"patient-{len(self.fleet.workers)}.log"
        self.fleet.workers.append(Worker((sys.executable, str(PATIENT)), self.environ, log))
        return self.fleet.workers[-1]

    async def write(self, customer_id: str, type_: str, count: int = 1) -> None:
        """So many webhooks of a type that names the customer by id alone, or a payment, which names an address."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            for _ in range(count):
                webhook_id = f"msg_{customer_id}_{len(self.written[customer_id])}"
                body = orjson.loads(samples.load(type_))
                data = body["data"]
                if isinstance(data.get("customer"), dict):
                    data["customer"] |= {"customer_id": customer_id, "email": f"{customer_id}@example.com"}
                    data["payment_id"] = f"pay_{webhook_id}"
                else:
                    data |= {"customer_id": customer_id, "id": f"lic_{webhook_id}"}
                headers = [("webhook-id", webhook_id.encode()), ("webhook-timestamp", b"%d" % time.time())]
                key, place = customer_id.encode(), partition_of(customer_id.encode(), PARTITIONS)
                await producer.send_and_wait(
                    self.settings.webhooks_topic, orjson.dumps(body), key, headers=headers, partition=place
                )
                self.written[customer_id].append(webhook_id)
        finally:
            await producer.stop()

    async def lag(self) -> dict[int, int | None]:
        """Records that wait, by partition."""
        rows = await read_lag(
            self.settings, [ConsumedTopic(self.settings.transform_group, self.settings.webhooks_topic)]
        )
        return {row.partition: row.records for row in rows}

    async def others_flow(self) -> None:
        """Wait until nothing waits but in the partition of the slow customer."""
        async with asyncio.timeout(PATIENCE_S):
            while any(records != 0 for partition, records in (await self.lag()).items() if partition):
                assert self.fleet.workers[-1].process.poll() is None, self.fleet.workers[-1].text[-6000:]
                await asyncio.sleep(0.05)

    async def told(self) -> dict[str, list[str]]:
        """Which webhook each event is of, by customer in the order of sending; and that of no identify."""
        found: dict[str, list[str]] = defaultdict(list)
        for operation, _ in await sent_of(self.settings):
            who = operation["identifiers"]["id"]
            if operation["action"] == "event":
                about = operation["attributes"]
                found[who].append(about.get("license_key_id") or about["payment_id"])
        return {who: [one.removeprefix("pay_").removeprefix("lic_") for one in events] for who, events in found.items()}


@pytest.fixture
async def shop(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    """A shop whose workers are not started yet."""
    account = Account(limits=())
    for who in (SLOW, NEIGHBOUR, *OTHERS):
        account.objects["customers"][who] = {"customer_id": who, "email": f"{who}@example.com", "name": "A"}
    async with serving(account) as url:
        settings = await chain_settings(partitions=PARTITIONS, dodo_api_key=LIVE_KEY, dodo_api_url=url)
        made = Shop(settings, account, environment(settings), tmp_path)
        yield made
        made.answer.set()
        made.fleet.end()


async def test_an_answer_that_hangs(shop: Shop) -> None:
    """It holds its customer's partition, which the lag shows; all others flow, those whom they ask for among them.

    When it comes, the order of every customer is that of the webhooks, and the profile has what it told.
    """
    worker = shop.start()
    await worker.says('"Partitions assigned"')
    await shop.write(NEIGHBOUR, "payment.succeeded")
    await shop.fleet.caught_up()
    await shop.write(SLOW, "license_key.created")
    async with asyncio.timeout(PATIENCE_S):
        await shop.asked.wait()
    for who in (*OTHERS, SLOW, NEIGHBOUR):
        await shop.write(who, "payment.succeeded", 5)
    await shop.others_flow()
    assert (await shop.lag())[0] == 1 + 5 + 5
    told = await shop.told()
    assert {who: told.get(who) for who in OTHERS} == {who: shop.written[who] for who in OTHERS}
    assert SLOW not in told
    shop.answer.set()
    await shop.fleet.caught_up()
    assert await shop.told() == shop.written
    first = next(one for one, _ in await sent_of(shop.settings) if one["identifiers"]["id"] == SLOW)
    assert (first["action"], first["attributes"]["email"]) == ("identify", f"{SLOW}@example.com")
    assert await worker.stop() == 0, worker.text[-6000:]


async def test_hand_over_while_an_answer_hangs(shop: Shop) -> None:
    """A stop does not wait for the answer, and the next worker decides what waited for it: nothing lost or doubled."""
    worker = shop.start()
    await worker.says('"Partitions assigned"')
    await shop.write(SLOW, "license_key.created")
    async with asyncio.timeout(PATIENCE_S):
        await shop.asked.wait()
    for who in (*OTHERS, SLOW, NEIGHBOUR):
        await shop.write(who, "payment.succeeded", 3)
    await shop.others_flow()
    assert await worker.stop() == 0, worker.text[-6000:]  # the answer is still kept back
    assert "Traceback" not in worker.text
    assert (await shop.lag())[0] == 1 + 3 + 3
    assert SLOW not in await shop.told()
    shop.answer.set()
    heir = shop.start()
    await shop.fleet.caught_up()
    assert await shop.told() == shop.written
    assert await heir.stop() == 0, heir.text[-6000:]
