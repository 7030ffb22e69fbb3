"""`dodo-cio explain --state` on a real Apache Kafka: what a webhook becomes for the customer as they are by now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.errors import BrokerUnreachableError, InputError, PipelineError, SettingsError, TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.local.ports import free_port
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN, Change
from pipeline.statestore.partition_count import began_value
from pipeline.transform.copies import Copy
from pipeline.transform.journey import Walk
from pipeline.transform.policy import Policy

ChainSettings = Callable[..., Awaitable[Settings]]

PARTITIONS = 4
ADA, BOB = "cus_ada", "cus_bob"


def payment(number: int, amount: int, customer: str = ADA, email: str = "ada@example.com") -> dict[str, Any]:
    """A payment in US cents, in May."""
    at = f"2026-05-0{number}T10:00:00Z"
    data = {
        "payment_id": f"pay_{customer}_{number}", "total_amount": amount, "currency": "USD", "status": "succeeded",
        "created_at": at, "customer": {"customer_id": customer, "email": email, "name": "Ada"},
    }  # fmt: skip
    return {"business_id": "biz_1", "type": "payment.succeeded", "timestamp": at, "data": data}


def facts_after(*webhooks: dict[str, Any], policy: Policy | None = None) -> list[Change]:
    """What a worker would have written for them."""
    walk = Walk(policy or Policy(), mode="live")
    for webhook in webhooks:
        walk.decide(Copy(json.dumps(webhook).encode()), f"msg_{webhook['data']['payment_id']}")
    return list(walk._store.changelog)


class Desk:
    """The topics of a pipeline, and the command at hand."""

    def __init__(self, settings: Settings, environ: dict[str, str], directory: Path) -> None:
        self.settings = settings
        self.environ = environ
        self._directory = directory

    def write(self, *changes: Change, under: int = PARTITIONS) -> None:
        """Put facts into their owners' partitions, which then begin if they have not."""
        asyncio.run(self._write(changes, under))

    async def _write(self, changes: tuple[Change, ...], under: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        topic = self.settings.customers_topic
        for partition in range(PARTITIONS):
            await producer.send(topic, began_value(1, "r", under), key=BEGAN, partition=partition)
        for key, value in changes:
            await producer.send_and_wait(topic, value, key=key, partition=partition_of(key.split(b"\0")[0], PARTITIONS))
        await producer.stop()

    def file(self, *webhooks: dict[str, Any]) -> str:
        """A file of webhooks, one a line."""
        path = self._directory / "webhooks.jsonl"
        path.write_text("\n".join(map(json.dumps, webhooks)))
        return str(path)

    def run(self, *arguments: str, **environ: str) -> Any:
        """The command's end."""
        return CliRunner().invoke(build(), ["explain", "--state", *arguments], env=self.environ | environ)

    def told(self, *webhooks: dict[str, Any], **environ: str) -> dict[str, Any]:
        """Its document about these webhooks."""
        result = self.run(self.file(*webhooks), "--json", **environ)
        assert result.exit_code == 0, (result.output, result.exception)
        document: dict[str, Any] = json.loads(result.stdout)
        return document


@pytest.fixture
def desk(chain_settings: ChainSettings, environment: Callable[[Settings], dict[str, str]], tmp_path: Path) -> Desk:
    """Four partitions, nothing in them."""

    async def made() -> Settings:
        return await chain_settings(partitions=PARTITIONS)

    settings = asyncio.run(made())
    return Desk(settings, environment(settings), tmp_path)


def profile_of(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """The attributes of the last profile update of a webhook."""
    found = [one for one in document["webhooks"][number]["operations"] if one["action"] == "identify"]
    attributes: dict[str, Any] = found[-1]["attributes"]
    return attributes


@pytest.mark.kafka
def test_totals_are_the_customer_s(desk: Desk) -> None:
    """Of two payments that the topic knows and the one that is asked about; what was known before stands beside it."""
    desk.write(*facts_after(payment(1, 2900), payment(2, 1100), payment(3, 700, customer=BOB)))
    document = desk.told(payment(4, 500))
    profile = profile_of(document)
    assert (profile["total_spent"], profile["payment_count"]) == ("45.00", 3)
    assert profile["customer_since"].startswith("2026-05-01")
    (known,) = document["state"]["customers"]
    assert document["state"]["topic"] == desk.settings.customers_topic
    assert (known["customer_id"], known["partition"]) == (ADA, partition_of(ADA.encode(), PARTITIONS))
    assert (known["attributes"]["total_spent"], known["attributes"]["payment_count"]) == ("40.00", 2)
    assert known["facts"] >= 3
    assert known["forgotten_at"] is None
    shown = desk.run(desk.file(payment(4, 500))).stdout
    assert f"{ADA}, {known['facts']} facts in {desk.settings.customers_topic}/{known['partition']}" in shown
    assert '"total_spent": "40.00"' in shown


@pytest.mark.kafka
def test_what_was_sent_is_sent_no_more(desk: Desk) -> None:
    """A webhook that the pipeline has taken is recognised by the facts."""
    desk.write(*facts_after(payment(1, 2900)))
    (webhook,) = desk.told(payment(1, 2900))["webhooks"]
    assert [one["action"] for one in webhook["operations"]] == []
    assert "skipped, already sent" in webhook["warnings"]


@pytest.mark.kafka
def test_nothing_is_written_or_committed(desk: Desk) -> None:
    """The topics are as long as before, and no group of the pipeline has an offset."""
    desk.write(*facts_after(payment(1, 2900)))

    async def left_behind() -> tuple[dict[str, Any], set[Any]]:
        topics = [desk.settings.customers_topic, desk.settings.webhooks_topic, desk.settings.operations_topic]
        tps = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=desk.settings.kafka_bootstrap_servers)
        await consumer.start()
        try:
            ends = {str(tp): end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()
        groups = (desk.settings.transform_group, desk.settings.sink_group)
        async with open_admin(desk.settings) as admin:
            return ends, {offset for group in groups for offset in (await admin.committed(group, tps)).values()}

    before = asyncio.run(left_behind())
    desk.told(payment(2, 500))
    assert asyncio.run(left_behind()) == before
    assert before[1] <= {None}


@pytest.mark.kafka
def test_several_customers_in_several_partitions(desk: Desk) -> None:
    """Each has their own totals, whatever the order of the webhooks."""
    assert partition_of(ADA.encode(), PARTITIONS) != partition_of(BOB.encode(), PARTITIONS)
    desk.write(*facts_after(payment(1, 2900), payment(3, 700, customer=BOB, email="bob@example.com")))
    document = desk.told(payment(4, 100, customer=BOB, email="bob@example.com"), payment(5, 100))
    assert profile_of(document, 0)["total_spent"] == "8.00"
    assert profile_of(document, 1)["total_spent"] == "30.00"
    assert [one["customer_id"] for one in document["state"]["customers"]] == [BOB, ADA]


@pytest.mark.kafka
def test_a_customer_whom_nobody_knows(desk: Desk) -> None:
    """Said, and their totals begin with the webhook; so it is with a sample, whose customer is an invented one."""
    desk.write(*facts_after(payment(1, 2900, customer=BOB)))
    document = desk.told(payment(4, 500))
    assert profile_of(document)["total_spent"] == "5.00"
    assert document["state"]["customers"][0]["facts"] == 0
    assert document["state"]["customers"][0]["attributes"] == {}
    shown = desk.run("--sample", "payment.succeeded").stdout
    assert "nothing is known of cus_0NExampleCustomer0001 in" in shown
    assert "totals begin with nothing" in shown


@pytest.mark.kafka
def test_a_topic_that_is_empty_yet(desk: Desk) -> None:
    """Nobody is known there, which is no fault."""
    assert profile_of(desk.told(payment(4, 500)))["total_spent"] == "5.00"


@pytest.mark.kafka
def test_a_forgotten_customer(desk: Desk) -> None:
    """Nothing of before the request counts, its webhooks are dropped, and when it was is said."""
    facts = facts_after(payment(1, 2900))
    gone: list[Change] = [(key, None) for key, _ in facts]
    desk.write(*facts, *gone, (f"{ADA}\0forgotten\0".encode(), b"[1780000000]"))  # 2026-05-28T20:26:40Z
    document = desk.told(payment(4, 500))
    (webhook,) = document["webhooks"]
    assert (webhook["verdict"], webhook["code"]) == ("dropped", "forgotten")
    assert document["state"]["customers"][0]["forgotten_at"].startswith("2026-05-28T20:26:40")
    assert document["state"]["customers"][0]["attributes"] == {}
    assert "was forgotten at 2026-05-28T20:26:40" in desk.run(desk.file(payment(4, 500))).stdout


@pytest.mark.kafka
def test_a_person_who_is_several_customers(desk: Desk) -> None:
    """Who go by one address have the totals of both, although the other's facts lie elsewhere."""
    policy = Policy(person_id_chain=("email",))
    desk.write(*facts_after(payment(1, 2900), payment(3, 700, customer=BOB), policy=policy))
    document = desk.told(payment(4, 500), PIPELINE_PERSON_ID="email")
    (person,) = document["people"]
    assert person["attributes"]["total_spent"] == "41.00"
    assert person["attributes"]["payment_count"] == 3
    assert document["state"]["customers"][0]["attributes"]["total_spent"] == "29.00"


@pytest.mark.kafka
def test_records_that_are_no_facts(desk: Desk) -> None:
    """What another tool wrote, or a later version, is passed over."""
    desk.write(
        *facts_after(payment(1, 2900)), (f"{ADA}\0payment\0x".encode(), b"oops"), (b"junk", b"[]"),
        (f"{ADA}\0future-kind\0x".encode(), b"[1]"),
    )  # fmt: skip
    assert profile_of(desk.told(payment(4, 500)))["total_spent"] == "34.00"


@pytest.mark.kafka
def test_facts_that_lie_under_another_number_of_partitions(desk: Desk) -> None:
    """Totals would be of a part: refused as a transform does, with the command that moves them."""
    desk.write(*facts_after(payment(1, 2900)), under=2)
    error = desk.run(desk.file(payment(4, 500))).exception
    assert isinstance(error, TopicError)
    assert "were written under 2" in str(error)
    assert "state repartition" in str(error)


@pytest.mark.kafka
def test_a_topic_that_is_missing(desk: Desk) -> None:
    """Named, with exit code 2."""
    error = desk.run(desk.file(payment(4, 500)), PIPELINE_CUSTOMERS_TOPIC="nowhere").exception
    assert isinstance(error, TopicError)
    assert error.exit_code == 2
    assert "nowhere" in str(error)


def offline(*arguments: str, **environ: str) -> Any:
    """The command without brokers."""
    return CliRunner().invoke(build(), ["explain", "--state", "--sample", "payment.succeeded", *arguments], env=environ)


def test_no_broker_is_named() -> None:
    """Then it stays offline and begins with nothing, which both forms say."""
    shown = offline()
    assert "begins with nothing: PIPELINE_KAFKA_BOOTSTRAP_SERVERS is not set" in shown.stdout
    told = offline("--json")
    assert json.loads(told.stdout)["state"] is None
    assert "begins with nothing: PIPELINE_KAFKA_BOOTSTRAP_SERVERS is not set" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "kind", "says"),
    [
        ((), {"PIPELINE_STATE": "false"}, SettingsError, "leave --state out"),
        (("--mode", "test"), {}, InputError, "never touch the customers' state"),
    ],
)
def test_where_there_is_no_state(
    arguments: tuple[str, ...], environ: dict[str, str], kind: type[PipelineError], says: str
) -> None:
    """Said instead of totals from nothing."""
    error = offline(*arguments, **environ).exception
    assert isinstance(error, kind)
    assert says in str(error)


def test_no_broker_answers() -> None:
    """An error of ours that names them."""
    address = f"127.0.0.1:{free_port()}"
    error = offline(PIPELINE_KAFKA_BOOTSTRAP_SERVERS=address).exception
    assert isinstance(error, BrokerUnreachableError)
    assert address in str(error)
