"""The vendor's recipes on a real Apache Kafka: webhooks in, events at Customer.io's stand-in, each once."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.dodo import samples
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.kafka.records import text_header
from pipeline.settings import Settings
from tests import forked
from tests.sink.kafka.conftest import Stage
from tests.transform.customers.conftest import Fleet

pytestmark = pytest.mark.kafka

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
CUSTOMERS = 40

ENDLESS = "function handler(webhook) {\n  for (let refunds = 0; ; refunds++) Math.abs(refunds);\n}\n"
MENDED = """function handler(webhook) {
  const refund = webhook.payload.data;
  return {identifiers: {id: refund.customer.customer_id}, action: "event", name: "Refunded"};
}
"""

Webhook = tuple[str, bytes]
"""Its webhook-id and its body."""


def webhook(sample: str, number: int, **ids: str) -> Webhook:
    """A sample of one of the customers, with ids of its own."""
    body = orjson.loads(samples.load(sample))
    customer = f"cus_{number % CUSTOMERS}"
    body["data"]["customer"] |= {"customer_id": customer, "email": f"{customer}@example.com"}
    body["data"] |= ids
    return f"msg_{sample}_{number}", orjson.dumps(body)


def traffic() -> list[Webhook]:
    """What the recipes handle, what they do not touch, one that never ends, and every tenth delivered twice."""
    sent = [webhook("payment.succeeded", number, payment_id=f"pay_{number}") for number in range(200)]
    sent += [webhook("subscription.active", number, subscription_id=f"sub_{number}") for number in range(60)]
    sent += [webhook("payment.failed", number, payment_id=f"pay_f{number}") for number in range(39)]
    sent.insert(123, webhook("refund.succeeded", 7, refund_id="ref_1", payment_id="pay_7"))
    return [*sent, *sent[::10]]


async def write(settings: Settings, webhooks: list[Webhook]) -> None:
    """Put them where ingest would."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, linger_ms=5)
    await producer.start()
    try:
        for webhook_id, body in webhooks:
            headers = [("webhook-id", webhook_id.encode()), ("dodo-mode", b"live")]
            await producer.send(settings.webhooks_topic, body, kafka_key(parse(body), webhook_id), headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


def replay(environ: dict[str, str], *arguments: str) -> None:
    """`dodo-cio dlq replay`, which puts everything back that it means to."""
    command = [*forked.PROGRAM, "dlq", "replay", "--class", "transform-failed", "--yes", *arguments]
    ended = forked.run(command, env=environ)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_every_webhook_is_told_once_and_the_bad_one_once_it_is_mended(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """The recipes as they stand on the vendor's page; one record of another that never ends holds nobody up.

    It is mended while the transform runs, and put back; put back again to the worker's heir it says nothing new.
    """
    recipes = tmp_path / "recipes"
    shutil.copytree(RECIPES, recipes)
    (recipes / "refund.succeeded.js").write_text(ENDLESS, encoding="utf-8")
    async with SandboxServer(SandboxConfig(environment_id=1)) as server:
        settings = await chain_settings(
            partitions=2,
            javascript=recipes,
            customerio_url=server.url,
            customerio_site_id="site",
            customerio_api_key="key",
            log_format="json",
        )
        environ = environment(settings)
        fleet, stage = Fleet(settings, environ, tmp_path), Stage(settings, environ, tmp_path, server)
        try:
            stage.start()
            worker = fleet.start()
            await write(settings, traffic())
            await fleet.caught_up()
            await stage.done()
            assert told(server) == {"Payment Completed": 200, "Subscription Started": 60, "payment_failed": 39}
            assert stage.stats["refused"] == 0
            (letter,) = await stage.dead_letters()
            assert text_header(letter.headers, "dlq-class") == "transform-failed"
            assert text_header(letter.headers, "dlq-field") == "refund.succeeded.js:1"
            assert "ran over 250 ms" in (text_header(letter.headers, "dlq-reason") or "")

            (recipes / "refund.succeeded.js").write_text(MENDED, encoding="utf-8")
            await worker.says("New rules are taken")
            await asyncio.to_thread(replay, environ)
            await fleet.caught_up()
            await stage.done()
            assert told(server)["Refunded"] == 1
            assert await worker.stop() == 0, worker.text[-6000:]

            heir = fleet.start()
            await asyncio.to_thread(replay, environ, "--again")
            await fleet.caught_up()
            await stage.done()
            assert sum(told(server).values()) == 300
            assert await heir.stop() == 0, heir.text[-6000:]
            assert "Traceback" not in worker.text + heir.text
        finally:
            fleet.end()
            stage.end()
        people = {one.person for one in server.sandbox.workspace.events}
        assert people == {f"cus_{number}" for number in range(CUSTOMERS)}
        paid = [one.as_json() for one in server.sandbox.workspace.events if one.name == "Payment Completed"]
        assert {orjson.loads(orjson.dumps(one["attributes"]))["payment_amount"] for one in paid} == {"46.65"}


def told(server: SandboxServer) -> Counter[str]:
    """How many different events of each name arrived."""
    return Counter(one.name for one in server.sandbox.workspace.events)
