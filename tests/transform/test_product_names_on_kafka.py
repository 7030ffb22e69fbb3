"""Names of products on a real Apache Kafka: the first mail about a product has its name, also after a restart."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.dodo import samples
from pipeline.settings import Settings
from pipeline.transform.product_names import FILE
from tests.dodo.stand_in import LIVE_KEY, Account, error, serving
from tests.transform.customers.conftest import Fleet, sent_of

pytestmark = pytest.mark.kafka


async def write(settings: Settings, *bought: tuple[str, str]) -> None:
    """Payments, each of a product."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for payment_id, product_id in bought:
            body = orjson.loads(samples.load("payment.succeeded"))
            body["data"] |= {"payment_id": payment_id, "product_cart": [{"product_id": product_id, "quantity": 1}]}
            headers = [("webhook-id", payment_id.encode()), ("webhook-timestamp", b"%d" % time.time())]
            await producer.send_and_wait(
                settings.webhooks_topic, orjson.dumps(body), b"cus_0NExampleCustomer0001", headers=headers
            )
    finally:
        await producer.stop()


async def names(settings: Settings) -> dict[str, str | None]:
    """What each payment's event calls its product."""
    return {
        operation["attributes"]["payment_id"]: operation["attributes"].get("product_name")
        for operation, _ in await sent_of(settings)
        if operation["action"] == "event"
    }


async def test_a_product_has_its_name_from_its_first_mail_on(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """Of those that are there at the start, of one that comes later or is renamed, and after a restart without Dodo."""
    account = Account(limits=())
    book = {"product_id": "pdt_book", "name": "Book", "created_at": "2026-01-01T00:00:00Z"}
    account.objects["products"]["pdt_book"] = book
    async with serving(account) as url:
        settings = await chain_settings(
            partitions=1, dodo_api_key=LIVE_KEY, dodo_api_url=url, product_name_wait_seconds=5,
            product_names_refresh_seconds=1,
        )  # fmt: skip
        fleet = Fleet(settings, environment(settings), tmp_path)
        try:
            worker = fleet.start()
            await worker.says('"Partitions assigned"')
            await worker.says("The names of products were read")
            account.objects["products"]["pdt_pen"] = book | {"product_id": "pdt_pen", "name": "Pen"}
            await write(settings, ("pay_1", "pdt_book"), ("pay_2", "pdt_pen"), ("pay_3", "pdt_gone"))
            await fleet.caught_up()
            assert await names(settings) == {"pay_1": "Book", "pay_2": "Pen", "pay_3": None}
            account.objects["products"]["pdt_book"] = book | {"name": "Book, second edition"}
            kept = settings.data_dir / FILE  # the log may speak of the pen, and of a reading that began before
            await worker.until(lambda: b"second edition" in kept.read_bytes())
            await write(settings, ("pay_5", "pdt_book"))
            await fleet.caught_up()
            assert (await names(settings))["pay_5"] == "Book, second edition"
            assert await worker.stop() == 0, worker.text[-6000:]
            account.faults += [lambda _: error(503, "AWAY")] * 20
            heir = fleet.start()
            await heir.says('"Partitions assigned"')
            await write(settings, ("pay_4", "pdt_pen"))
            await fleet.caught_up()
            assert (await names(settings))["pay_4"] == "Pen"
            assert await heir.stop() == 0, heir.text[-6000:]
            assert "Traceback" not in worker.text + heir.text
        finally:
            fleet.end()
