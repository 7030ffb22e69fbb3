"""A candidate beside the live rules, on a real Apache Kafka: its differences lie in their topic, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from pipeline.dodo import samples
from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings
from pipeline.transform.shaping.rules.loading import version_of
from tests.transform.customers.conftest import Fleet, Worker, records_of

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
Environment = Callable[[Settings], dict[str, str]]

COUNT = 40
STRANGE_EVERY = 10
WRITTEN = ("dodo_cio_shadow_records_total", "written")
LIVE = "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n"
CANDIDATE = """rules:
- match: {event: payment_completed}
  rename: Paid
- match: {event: payment_completed}
  when: webhook.data.metadata.points > 5
  event: {set: {many: true}}
"""
NEXT = "rules:\n- match: {event: payment_completed}\n  drop: event\n"
BROKEN = "rules:\n- renam: X\n"


def body(number: int) -> bytes:
    """One of many payments, each of somebody else."""
    webhook = orjson.loads(samples.load("payment.succeeded"))
    webhook["data"] |= {"payment_id": f"pay_{number}", "metadata": {}}
    webhook["data"]["customer"]["customer_id"] = f"cus_{number}"
    if number % STRANGE_EVERY == 0:
        webhook["data"]["metadata"] = {"points": "many"}
    return orjson.dumps(webhook)


async def pays(settings: Settings, numbers: range) -> None:
    """Write payments."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for number in numbers:
            headers = [("webhook-id", f"msg_{number}".encode())]
            await producer.send(settings.webhooks_topic, body(number), f"cus_{number}".encode(), headers=headers)
    finally:
        await producer.stop()


async def events_in(settings: Settings) -> list[tuple[str, str | None]]:
    """Payment and name of each event that was sent on."""
    bodies = [orjson.loads(record.value) for record in await records_of(settings, settings.operations_topic)]
    return [(one["attributes"]["payment_id"], one["name"]) for one in bodies if one["action"] == "event"]


async def differences_in(settings: Settings, topic: str, count: int) -> list[dict[str, Any]]:
    """Those that lie in the topic, once there are so many: nothing waits for them but this test."""
    async with asyncio.timeout(120):
        while len(found := await records_of(settings, topic)) < count:  # noqa: ASYNC110 - a reading is a question
            await asyncio.sleep(0.05)
    return [orjson.loads(record.value) for record in found]


async def series(worker: Worker) -> dict[tuple[str, ...], float]:
    """The candidate's metrics, by name and values of labels."""
    text = (await worker.get("/metrics")).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "_shadow_" in sample.name
    }


def kinds(documents: list[dict[str, Any]]) -> Counter[tuple[str, str | None, str | None]]:
    """What was found, counted."""
    return Counter((one["kind"], one["event"], one["becomes"]) for document in documents for one in document["changes"])


async def test_differences_beside_the_live_rules(
    chain_settings: ChainSettings, environment: Environment, tmp_path: Path
) -> None:
    """What is sent is the live rules' alone; a new candidate is taken, a broken one refused."""
    settings = await chain_settings(partitions=2)
    topic = f"{settings.operations_topic}.shadow"
    async with open_admin(settings) as admin:
        await admin.create(topic, 1, 1, {})
    live, shadow = tmp_path / "live.yaml", tmp_path / "shadow.yaml"
    live.write_text(LIVE)
    shadow.write_text(CANDIDATE)
    fleet = Fleet(settings, environment(settings), tmp_path)
    try:
        worker = fleet.start(PIPELINE_RULES=str(live), PIPELINE_SHADOW_RULES=str(shadow), PIPELINE_SHADOW_TOPIC=topic)
        await worker.says('"Partitions assigned"')
        await pays(settings, range(COUNT))
        await fleet.caught_up()
        found = await differences_in(settings, topic, COUNT)
        strange = COUNT // STRANGE_EVERY
        assert kinds(found) == {
            ("event-renamed", "Order Paid", "Paid"): COUNT - strange, ("newly-fails", None, None): strange,
        }  # fmt: skip
        assert {one["candidate"] for one in found} == {version_of(CANDIDATE.encode())}
        assert "@example.com" not in json.dumps(found)
        async with asyncio.timeout(300):  # counted once the brokers have answered, and to be read before that
            while (told := await series(worker)).get(WRITTEN, 0) < COUNT:  # noqa: ASYNC110 - a scrape is a question
                await asyncio.sleep(0.05)
        assert told["dodo_cio_shadow_webhooks_total", "differs"] == COUNT
        assert told["dodo_cio_shadow_webhooks_total", "error"] == 0
        assert told["dodo_cio_shadow_differences_total", "newly-fails", "payment.succeeded"] == strange
        assert told[WRITTEN] == COUNT
        assert told["dodo_cio_shadow_rules_info", version_of(CANDIDATE.encode())] == 1

        shadow.write_text(BROKEN)
        os.kill(worker.process.pid, signal.SIGHUP)
        await worker.says("New rules are refused", "PIPELINE_SHADOW_RULES")
        shadow.write_text(NEXT)
        os.kill(worker.process.pid, signal.SIGHUP)
        await worker.says("New rules are taken", version_of(NEXT.encode()), "PIPELINE_SHADOW_RULES")
        await pays(settings, range(COUNT, COUNT + 5))
        await fleet.caught_up()
        found = await differences_in(settings, topic, COUNT + 5)
        assert kinds(found)["event-removed", "Order Paid", None] == 5

        assert Counter(await events_in(settings)) == {(f"pay_{number}", "Order Paid"): 1 for number in range(COUNT + 5)}
        assert await records_of(settings, settings.dead_letters_topic) == []
        assert await worker.stop() == 0, worker.text[-6000:]
        assert "Traceback" not in worker.text
    finally:
        fleet.end()


async def test_what_the_candidate_lacks_stops_nobody(
    chain_settings: ChainSettings, environment: Environment, tmp_path: Path
) -> None:
    """Without its topic differences are counted and lost; without its file there is none until there is one."""
    settings = await chain_settings(partitions=2)
    shadow = tmp_path / "shadow.yaml"
    fleet = Fleet(settings, environment(settings), tmp_path)
    try:
        worker = fleet.start(
            PIPELINE_SHADOW_RULES=str(shadow), PIPELINE_SHADOW_TOPIC=f"{settings.operations_topic}.missing"
        )
        await worker.says("The candidate beside the live rules cannot be used")
        await worker.says('"Partitions assigned"')
        await pays(settings, range(5))
        await fleet.caught_up()
        assert (await series(worker))["dodo_cio_shadow_rules_info", "none"] == 1
        shadow.write_text(LIVE)
        await worker.says("New rules are taken", version_of(LIVE.encode()))
        await pays(settings, range(5, 10))
        await fleet.caught_up()
        assert (await series(worker))["dodo_cio_shadow_webhooks_total", "differs"] == 5
        assert Counter(await events_in(settings)) == {(f"pay_{number}", "payment_completed"): 1 for number in range(10)}
        assert await worker.stop() == 0, worker.text[-6000:]
        assert "Traceback" not in worker.text
    finally:
        fleet.end()
