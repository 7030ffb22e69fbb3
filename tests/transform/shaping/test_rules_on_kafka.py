"""Rules that change under traffic, on a real Apache Kafka: every event once, whatever it was called when."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.dodo import samples
from pipeline.kafka.cluster.topics import check_topics
from pipeline.settings import Settings
from pipeline.transform.mapping import map_body
from pipeline.transform.policy import Policy
from pipeline.transform.shaping.rules.loading import version_of
from pipeline.transform.verdicts import Delivery, Operations
from tests import forked
from tests.transform.customers.conftest import Fleet, records_of

pytestmark = pytest.mark.kafka

RENAMED = "rules:\n- match: {{event: payment_completed}}\n  rename: {name}\n"
PICKY = RENAMED + "- match: {{event: payment_completed}}\n  when: {when}\n  event: {{set: {{many: true}}}}\n"
FRAGILE = PICKY.format(name="Paid B", when="webhook.data.metadata.points > 5")
MENDED = PICKY.format(name="Paid C", when="webhook.data.metadata.points == 7")
BROKEN = "rules:\n- renam: X\n"
PICKY_EVERY = 7
"""Every seventh webhook has points that are no number, which the fragile rules cannot take."""


def body(number: int) -> bytes:
    """One of many payments."""
    webhook = orjson.loads(samples.load("payment.succeeded"))
    webhook["data"] |= {"payment_id": f"pay_{number}", "metadata": {}}
    webhook["data"]["customer"]["customer_id"] = f"cus_{number % 50}"
    if number % PICKY_EVERY == 0:
        webhook["data"]["metadata"] = {"points": "many"}
    return orjson.dumps(webhook)


class Traffic:
    """Payments that keep coming until they are told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.count = 0
        self.ended = False

    async def run(self) -> None:
        """Write them."""
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            while not self.ended:
                sends = []
                for number in range(self.count, self.count + 10):
                    headers = [("webhook-id", f"msg_{number}".encode()), ("webhook-timestamp", b"%d" % time.time())]
                    key = f"cus_{number % 50}".encode()
                    sends.append(await producer.send(self._settings.webhooks_topic, body(number), key, headers=headers))
                self.count += 10
                await asyncio.gather(*sends)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()


def expected_id(number: int) -> str:
    """The event's id by the default mapping."""
    verdict = map_body(body(number), Delivery(f"msg_{number}"), Policy())
    assert isinstance(verdict, Operations)
    return next(one.op_id for one in verdict.operations if one.kind == "event")


async def wait_for(settings: Settings, version: str) -> None:
    """Until an operation of this version is in the topic."""
    partitions = (await check_topics(settings, [settings.operations_topic]))[settings.operations_topic]
    assert partitions
    consumer = AIOKafkaConsumer(
        settings.operations_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(120):
            async for record in consumer:
                if dict(record.headers).get("rules") == version.encode():
                    return
    finally:
        await consumer.stop()


async def events_in(settings: Settings) -> list[tuple[dict[str, Any], str]]:
    """All events with the version of the rules that shaped them."""
    found = []
    for record in await records_of(settings, settings.operations_topic):
        operation = orjson.loads(record.value)
        if operation["action"] == "event":
            found.append((operation, dict(record.headers)["rules"].decode()))
    return found


def check(events: list[tuple[dict[str, Any], str]], count: int, first: str) -> None:
    """Every payment is told once, under its fact's id and under the name of the rules that shaped it."""
    told = Counter(event["attributes"]["payment_id"] for event, _ in events)
    assert told == {f"pay_{number}": 1 for number in range(count)}
    texts = {first: "Paid A", FRAGILE: "Paid B", MENDED: "Paid C"}
    names = {version_of(text.encode()): name for text, name in texts.items()}
    for event, version in events:
        assert event["name"] == names[version]
        assert event["id"] == expected_id(int(event["attributes"]["payment_id"].removeprefix("pay_")))
    assert {version for _, version in events} == set(names)


async def test_rules_change_under_traffic_and_every_event_is_told_once(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """None lost, none doubled, each under its fact's id; what one version fails over a replay delivers once."""
    settings = await chain_settings(partitions=2)
    rules = tmp_path / "rules.yaml"
    first = RENAMED.format(name="Paid A")
    rules.write_text(first)
    environ = environment(settings)
    fleet = Fleet(settings, environ, tmp_path)
    traffic = Traffic(settings)
    try:
        worker = fleet.start(PIPELINE_RULES=str(rules))
        await worker.says('"Partitions assigned"')
        writing = asyncio.create_task(traffic.run())
        await wait_for(settings, version_of(first.encode()))

        def put(text: str) -> None:
            fresh = tmp_path / "fresh.yaml"
            fresh.write_text(text)
            fresh.rename(rules)

        put(FRAGILE)
        os.kill(worker.process.pid, signal.SIGHUP)
        await wait_for(settings, version_of(FRAGILE.encode()))
        put(BROKEN)
        await worker.says("New rules are refused", "unknown field 'renam'")
        put(MENDED)  # and no signal: it is seen
        await wait_for(settings, version_of(MENDED.encode()))
        traffic.ended = True
        await writing
        await fleet.caught_up()

        letters = await records_of(settings, settings.dead_letters_topic)
        assert letters, "the fragile rules were live for at least one of the picky webhooks"
        assert {dict(letter.headers)["dlq-class"] for letter in letters} == {b"transform-failed"}
        assert {dict(letter.headers)["dlq-field"] for letter in letters} == {b"rules.yaml:5:9"}
        before = await events_in(settings)
        assert len(before) + len(letters) == traffic.count

        replay = [*forked.PROGRAM, "dlq", "replay", "--class", "transform-failed", "--yes"]
        done = await asyncio.to_thread(forked.run, replay, env=environ, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        await fleet.caught_up()

        check(await events_in(settings), traffic.count, first)
        assert await worker.stop() == 0, worker.text[-6000:]
        assert "Traceback" not in worker.text
    finally:
        traffic.ended = True
        fleet.end()
