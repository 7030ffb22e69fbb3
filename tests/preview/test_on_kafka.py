"""`dodo-cio preview` on a real Kafka: webhooks of many types and what is none, read and left as they were."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from typer.testing import CliRunner, Result

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.errors import BrokerUnreachableError, InputError, RulesError
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.transform.shaping.differences import KINDS

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
Environment = Callable[[Settings], dict[str, str]]

PARTITIONS = 3
LIVE = "rules:\n- match: {event: payment_completed}\n  rename: Order Paid\n"
CANDIDATE = """rules:
- match: {event: payment_completed}
  rename: Paid
- match: {event: payment_completed}
  when: webhook.data.metadata.points > 5
  event: {set: {many: true}}
- match: {family: subscription}
  drop: event
- match: {family: refund}
  event: {set: {channel: web, buyer: {path: data.customer.name}}, drop: [payment_id]}
"""
OLD, NEW_OF_TYPES = 4, ("subscription.active", "refund.succeeded", "license_key.created", "payout.success")
FAILING = 2


def webhook(type_: str, customer: str, **data: Any) -> bytes:
    """A sample about this customer."""
    body = orjson.loads(samples.load(type_))
    body["data"] |= data
    if "customer" in body["data"]:
        body["data"]["customer"] |= {"customer_id": customer, "email": f"{customer}@example.com", "name": "Jane Doe"}
    return orjson.dumps(body)


Given = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def traffic() -> list[Given]:
    """Key, value and headers of each record."""
    made: list[Given] = []

    def put(value: bytes | None, key: bytes | None, *headers: tuple[str, bytes]) -> None:
        number = len(made)
        made.append((key, value, [("webhook-id", b"msg_%d" % number), *headers]))

    for number in range(OLD):
        put(webhook("payment.succeeded", f"cus_old{number}", payment_id=f"pay_old{number}"), b"k")
    for number in range(6):
        put(webhook("payment.succeeded", f"cus_{number}", payment_id=f"pay_{number}"), b"cus_%d" % number)
    for number in range(FAILING):
        strange = {"payment_id": f"pay_f{number}", "metadata": {"points": "many"}}
        put(webhook("payment.succeeded", f"cus_f{number}", **strange), b"cus_f%d" % number)
    put(webhook("payment.succeeded", "cus_keyless", payment_id="pay_keyless"), None)
    for type_ in NEW_OF_TYPES:
        put(webhook(type_, "cus_0"), b"cus_0")
    put(webhook("payment.succeeded", "cus_test", payment_id="pay_t"), b"cus_test", ("dodo-mode", b"test"))
    put(webhook("payment.succeeded", "cus_0", payment_id="pay_0"), b"cus_0")  # told before, by another webhook
    put(b"[]", b"cus_1")
    put(None, b"cus_1")
    put(orjson.dumps({"type": "brand.new", "data": {}}), b"cus_1")
    put(b'{"command": "share"}', b"cus_1", ("dodo-command", b"share"))
    put(webhook("payment.succeeded", "cus_r", payment_id="pay_r"), b"cus_r", ("dlq-replays", b"1"))
    return made


LATER = len(traffic()) - OLD


@dataclass
class Shop:
    """Topics with all of `traffic`, and the command at hand."""

    settings: Settings
    environ: dict[str, str]
    later: str
    """When the first `OLD` records were there, and no other."""
    folder: Path

    def file(self, text: str, name: str = "candidate.yaml") -> str:
        """A file of rules."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *arguments: str, **environ: str) -> Result:
        """The command's result."""
        return CliRunner().invoke(build(), ["preview", *arguments], env={**self.environ, **environ})

    def document(self, *arguments: str, code: int, **environ: str) -> dict[str, Any]:
        """Its JSON, of the form that is promised."""
        result = self.run(*arguments, "--json", **environ)
        assert result.exit_code == code, (result.output, result.exception)
        document: dict[str, Any] = json.loads(result.stdout)
        jsonschema.validate(document, SCHEMA)
        return document


@pytest.fixture
def shop(own_kafka: LocalKafka, chain_settings: ChainSettings, environment: Environment, tmp_path: Path) -> Shop:
    """Everything written, nothing read yet; nobody else is on the broker, so that each trace of a command is seen."""
    settings, later = asyncio.run(_filled(own_kafka, chain_settings))
    return Shop(settings, environment(settings), later, tmp_path)


async def _filled(own_kafka: LocalKafka, chain_settings: ChainSettings) -> tuple[Settings, str]:
    settings = await chain_settings(PARTITIONS, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        later_ms = 0
        for number, (key, value, headers) in enumerate(traffic()):
            partition = number % PARTITIONS if key is None else partition_of(key, PARTITIONS)
            stored = await producer.send_and_wait(
                settings.webhooks_topic, value, key, partition=partition, headers=headers
            )
            if number == OLD - 1:
                later_ms = stored.timestamp + 1
                while time.time_ns() // 1_000_000 <= later_ms:  # noqa: ASYNC110 - the clock's next millisecond
                    await asyncio.sleep(0)
        await producer.send_and_wait(settings.dead_letters_topic, b"{}", b"cus_1", headers=[("dlq-class", b"oversize")])
    finally:
        await producer.stop()
    return settings, datetime.fromtimestamp(later_ms / 1000, UTC).isoformat(timespec="milliseconds")


async def _traces(settings: Settings) -> tuple[dict[TopicPartition, int], set[str], set[str]]:
    """Ends of all of our topics, groups and topics of the cluster: what a command could leave behind."""
    names = (settings.webhooks_topic, settings.operations_topic, settings.dead_letters_topic, settings.customers_topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    await admin.start()
    try:
        partitions = [TopicPartition(name, 0) for name in names]
        partitions += [TopicPartition(name, 1) for name in names if name != settings.dead_letters_topic]
        partitions += [TopicPartition(name, 2) for name in names if name != settings.dead_letters_topic]
        ends = await consumer.end_offsets(partitions)
        groups = {group[0] for group in await admin.list_consumer_groups()}
        return ends, groups, set(await admin.list_topics())
    finally:
        await consumer.stop()
        await admin.close()


def counts(document: dict[str, Any]) -> dict[tuple[str, str, str | None, str | None], int]:
    """How often each change was met."""
    return {(one["kind"], one["type"], one["event"], one["becomes"]): one["count"] for one in document["changes"]}


def test_differences_of_what_came(shop: Shop) -> None:
    """Each kind is counted by type; what nobody can read, what is dropped and what was told before changes nothing."""
    before = asyncio.run(_traces(shop.settings))
    found = shop.document("--rules", shop.file(CANDIDATE), code=3, PIPELINE_RULES=shop.file(LIVE, "live.yaml"))
    assert asyncio.run(_traces(shop.settings)) == before, "nothing is committed, joined or written"
    assert found["records"] == {
        "read": len(traffic()), "compared": len(traffic()) - 1, "echoes": 1, "unreadable": 2,
        "changed": OLD + 6 + FAILING + 1 + 1 + 1 + 1,
    }  # fmt: skip
    assert counts(found) == {
        ("event-renamed", "payment.succeeded", "Order Paid", "Paid"): OLD + 6 + 1 + 1,
        ("event-removed", "subscription.active", "subscription_started", None): 1,
        ("event-attributes", "refund.succeeded", "refund_succeeded", "refund_succeeded"): 1,
        ("newly-fails", "payment.succeeded", None, None): FAILING,
    }
    assert found["types"]["payout.success"] == {"webhooks": 1, "changed": 0, "kinds": {}}
    assert found["types"]["other"]["webhooks"] == 1
    (refund,) = [one for one in found["changes"] if one["kind"] == "event-attributes"]
    assert refund["attributes"] == {"buyer": {"added": 1}, "channel": {"added": 1}, "payment_id": {"removed": 1}}
    assert refund["samples"][0]["after"]["attributes"]["buyer"] == "[private]"
    (failing,) = [one for one in found["changes"] if one["kind"] == "newly-fails"]
    assert failing["failure"]["class"] == "transform-failed"
    assert failing["failure"]["field"].endswith("candidate.yaml:5:9")
    (renamed,) = [one for one in found["changes"] if one["kind"] == "event-renamed"]
    assert len(renamed["samples"]) == 3
    assert renamed["samples"][0]["before"]["name"] == "Order Paid"
    assert renamed["samples"][0]["after"]["name"] == "Paid"
    assert "@example.com" not in json.dumps(found)
    assert "Jane" not in json.dumps(found)


def test_the_default_mapping_is_what_is_live_without_rules(shop: Shop) -> None:
    """And without a state every record is for itself."""
    found = shop.document("--rules", shop.file(LIVE), code=3, PIPELINE_STATE="false")
    assert found["current"] is None
    assert found["state"] == {"known": False, "customers": 0, "facts": 0, "complete": True, "begun_anew": 0}
    told = OLD + 6 + FAILING + 1 + 1 + 1
    assert counts(found) == {("event-renamed", "payment.succeeded", "payment_completed", "Order Paid"): told}


def test_nothing_changes(shop: Shop) -> None:
    """The same rules under another name, and with a remark: exit code 0."""
    found = shop.document("--rules", shop.file(f"# ours\n{LIVE}"), code=0, PIPELINE_RULES=shop.file(LIVE, "live.yaml"))
    assert found["current"] != found["candidate"]
    assert found["changes"] == []


def test_a_part_of_the_topic(shop: Shop) -> None:
    """The newest, what came since, and one type alone."""
    rules = shop.file(LIVE)
    assert shop.document("--rules", rules, "--last", "5", code=3)["records"]["read"] == 5
    since = shop.document("--rules", rules, "--since", shop.later, code=3)
    assert since["records"]["read"] == LATER
    one = shop.document("--rules", rules, "--type", "refund.succeeded", code=0)
    assert one["records"] == {
        "read": len(traffic()), "compared": 1, "echoes": 1, "unreadable": 0, "changed": 0,
    }  # fmt: skip
    assert shop.document("--rules", rules, "--since", "0s", code=0)["records"]["read"] == 0


def test_code_is_a_candidate_too(shop: Shop) -> None:
    """A function in place of the one that is live."""
    found = shop.document("--transform", "tests.preview.quiet:shape", code=3)
    assert ("event-removed", "license_key.created", "license_key_created", None) in counts(found)
    assert {one["kind"] for one in found["changes"]} == {"event-removed"}


def test_recipes_are_a_candidate_too(shop: Shop) -> None:
    """The dashboard's functions; one that fails on a webhook is a failure that names its line."""
    recipes = shop.folder / "recipes"
    recipes.mkdir()
    (recipes / "license_key.js").write_text("function handler(webhook) {\n  return webhook.nothing.at.all;\n}\n")
    found = shop.document("--javascript", str(recipes), code=3)
    (change,) = found["changes"]
    assert (change["kind"], change["type"], change["count"]) == ("newly-fails", "license_key.created", 1)
    assert "license_key.js:2" in change["failure"]["field"]


def test_for_people(shop: Shop) -> None:
    """Counts, names, reasons, and examples without anybody's data."""
    result = shop.run("--rules", shop.file(CANDIDATE))
    assert result.exit_code == 3
    for words in ("would change", "event-renamed", "payment_completed → Paid", "newly-fails", "channel: added 1"):
        assert words in result.stdout
    assert "@example.com" not in result.output
    assert "Jane" not in result.output


def test_faults_are_told_apart_from_changes(shop: Shop) -> None:
    """Wrong arguments and rules end with 2, brokers that are away with 1."""
    for arguments, words in (
        ((), "give a candidate"),
        (("--rules", shop.file(LIVE), "--last", "5", "--since", "1d"), "either --last or --since"),
        (("--rules", shop.file(LIVE), "--type", "payment.suceeded"), "payment.succeeded"),
        (("--rules", shop.file(LIVE), "--since", "soon"), "is no time"),
    ):
        error = shop.run(*arguments).exception
        assert isinstance(error, InputError)
        assert error.exit_code == 2
        assert words in str(error)
    for file in (shop.file("rules:\n- renam: X\n"), str(shop.folder / "missing.yaml")):
        error = shop.run("--rules", file).exception
        assert isinstance(error, RulesError)
        assert error.exit_code == 2
    away = {"PIPELINE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    error = shop.run("--rules", shop.file(LIVE), **away).exception
    assert isinstance(error, BrokerUnreachableError)
    assert error.exit_code == 1


COUNT = {"type": "integer", "minimum": 0}
TEXT_OR_NULL = {"type": ["string", "null"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


SCHEMA = _object(
    current=TEXT_OR_NULL,
    candidate={"type": "string"},
    wanted=_object(
        last={"type": ["integer", "null"]},
        since_ms={"type": ["integer", "null"]},
        types={"type": "array", "items": {"type": "string"}},
    ),
    state=_object(
        known={"type": "boolean"}, customers=COUNT, facts=COUNT, complete={"type": "boolean"}, begun_anew=COUNT
    ),
    records=_object(read=COUNT, compared=COUNT, echoes=COUNT, unreadable=COUNT, changed=COUNT),
    types={
        "type": "object",
        "additionalProperties": _object(
            webhooks=COUNT,
            changed=COUNT,
            kinds={"type": "object", "propertyNames": {"enum": list(KINDS)}, "additionalProperties": COUNT},
        ),
    },
    changes={
        "type": "array",
        "items": _object(
            kind={"enum": list(KINDS)},
            type={"type": "string"},
            event=TEXT_OR_NULL,
            becomes=TEXT_OR_NULL,
            count={"type": "integer", "minimum": 1},
            attributes={
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "propertyNames": {"enum": ["added", "removed", "changed"]},
                    "additionalProperties": COUNT,
                },
            },
            failure={
                "anyOf": [
                    {"type": "null"},
                    _object(**{"class": {"type": "string"}, "reason": {"type": "string"}, "field": TEXT_OR_NULL}),
                ]
            },
            samples={
                "type": "array",
                "maxItems": 3,
                "items": _object(
                    place={"type": "string"},
                    webhook_id={"type": "string"},
                    before={"type": ["object", "null"]},
                    after={"type": ["object", "null"]},
                ),
            },
        ),
    },
    uncounted=COUNT,
)
