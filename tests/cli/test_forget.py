"""`dodo-cio forget` and the dead letters of the customer, on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.cli.forget_letters import CustomerLetters, look, remove
from pipeline.customerio.operations import identify, removal
from pipeline.deadletters.envelope import dead_letter_of
from pipeline.deadletters.erasure import rewrite
from pipeline.deadletters.reader import open_letter_reader
from pipeline.deadletters.receipts import receipt
from pipeline.dodo import samples
from pipeline.errors import InputError, PipelineError, TopicError
from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.producer.producer import BatchProducer
from pipeline.kafka.records import OutRecord
from pipeline.settings import Settings, Stage

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]

CUSTOMER = "cus_0NExampleCustomer0001"
AT_S = 1_792_660_382
AT_MS = AT_S * 1000
PARTITIONS = 4


def letter(stage: Stage, value: bytes, key: bytes = b"k", **about: Any) -> OutRecord:
    """A dead letter."""
    given: dict[str, Any] = {"headers": (), "class_": "refused", "reason": "no", "source": f"x/0/{AT_MS}"} | about
    return dead_letter_of(key=key, value=value, stage=stage, at_ms=AT_MS, **given)


OURS = {
    "webhook": letter("transform", samples.load("payment.succeeded"), CUSTOMER.encode()),
    "unreadable": letter("ingest", b'{"customer_id": "%b", oops' % CUSTOMER.encode(), b"msg_1"),
    "by id": letter("sink", identify("u_7", {"name": "Jane"}, timestamp_s=AT_S), b"u_7"),
    "by stand-in": letter("sink", identify(CUSTOMER, {}, timestamp_s=AT_S), CUSTOMER.encode()),
    "by former id": letter("sink", identify("u_6", {}, timestamp_s=AT_S), b"u_6"),
}
OTHERS = {
    "another customer": letter(
        "transform", samples.load("payment.succeeded").replace(CUSTOMER.encode(), b"cus_2"), b"cus_2"
    ),
    "a longer id": letter("ingest", b'{"customer_id": "%b2", oops' % CUSTOMER.encode(), b"msg_2"),
    "another person": letter("sink", identify("u_8", {"email": "jane@example.com"}, timestamp_s=AT_S), b"u_8"),
    "the removal": letter("sink", removal("u_7", "delete"), b"u_7"),
    "the request": letter("transform", b"{}", CUSTOMER.encode(), headers=(("dodo-command", b"forget"),)),
    "a receipt": receipt([b"x" * 12], AT_MS),
}


async def broken_off(*_: Any) -> None:
    """In place of the deletion."""
    raise InterruptedError


class Desk:
    """A pipeline's topics with the command at hand."""

    def __init__(self, settings: Settings, environ: dict[str, str]) -> None:
        self.settings = settings
        self.environ = environ

    def write(self, topic: str, records: Sequence[OutRecord], partition: int = 0) -> None:
        """Append records."""
        asyncio.run(self._write(topic, records, partition))

    async def _write(self, topic: str, records: Sequence[OutRecord], partition: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        for record in records:
            await producer.send_and_wait(
                topic, record.value, record.key, headers=list(record.headers), partition=partition
            )
        await producer.stop()

    def letters(self) -> list[ConsumerRecord]:
        """What lies in the dead letters' topic."""
        return asyncio.run(self._letters())

    async def _letters(self) -> list[ConsumerRecord]:
        tp = TopicPartition(self.settings.dead_letters_topic, 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            start = (await consumer.beginning_offsets([tp]))[tp]
            found: list[ConsumerRecord] = []
            while start < end and await consumer.position(tp) < end:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def copies(self) -> None:
        """Rewrite the topic, and end before anything is deleted."""
        letters = await look(self.settings, CUSTOMER, must=True)
        assert letters.lying is not None
        producer = BatchProducer(self.settings)
        await producer.start()
        await producer.prime(self.settings.dead_letters_topic)
        async with open_letter_reader(self.settings) as reader:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Admin, "delete_records", broken_off)
                with pytest.raises(InterruptedError):
                    await rewrite(self.settings, reader, producer, letters.lying)
        await producer.stop()

    def set_policy(self, policy: str) -> None:
        """How the dead letters' topic is cleaned up."""
        asyncio.run(self._set_policy(policy))

    async def _set_policy(self, policy: str) -> None:
        async with open_admin(self.settings) as admin:
            topic = self.settings.dead_letters_topic
            await admin.set_configs(topic, {"cleanup.policy": policy})
            while ((await admin.configs([topic]))[topic] or {})["cleanup.policy"][0] != policy:  # noqa: ASYNC110 - the broker tells
                await asyncio.sleep(0.05)

    def run(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """The summary of `dodo-cio forget … --yes --json`."""
        command = ["forget", CUSTOMER, "--yes", "--json", *arguments]
        result = CliRunner().invoke(build(), command, env=self.environ | environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def desk(chain_settings: ChainSettings, environment: Callable[[Settings], dict[str, str]]) -> Desk:
    """Letters of a customer who is u_7 at Customer.io and was u_6 at an earlier request, between those of others."""

    async def made() -> Settings:
        return await chain_settings(partitions=PARTITIONS)

    settings = asyncio.run(made())
    desk = Desk(settings, environment(settings))
    person = [AT_S, AT_MS, "u_7", "metadata.user"]
    seen = [AT_S, AT_MS, "jane@example.com"]
    known: list[Any] = [1, AT_S, None, None, person, seen, None, None, None, {}]
    before = [AT_S, [], [[AT_S, "metadata.user", None, hashlib.blake2b(b"u_6", digest_size=16).hexdigest()]]]
    facts = [
        OutRecord(f"{CUSTOMER}\0{kind}\0".encode(), json.dumps(value).encode(), ())
        for kind, value in (("identity", known), ("request", before))
    ]
    desk.write(settings.customers_topic, facts, partition_of(CUSTOMER.encode(), PARTITIONS))
    names = [name for pair in zip(OURS, OTHERS, strict=False) for name in pair] + list(OTHERS)[len(OURS) :]
    desk.write(settings.dead_letters_topic, [(OURS | OTHERS)[name] for name in names])
    return desk


def test_letters_are_told(desk: Desk) -> None:
    """Those of the customer and of whoever the customer is or was, with their places; none is touched."""
    before = [(record.key, record.value) for record in desk.letters()]
    for arguments in (("--dry-run",), ()):
        told = desk.run(*arguments)["dead_letters"]
        assert told == {"count": 5, "places": ["0/0", "0/2", "0/4", "0/6", "0/8"], "removed": 0, "unknown": None}
    assert [(record.key, record.value) for record in desk.letters()] == before
    result = CliRunner().invoke(build(), ["forget", CUSTOMER, "--dry-run"], env=desk.environ)
    assert "5 dead letters of theirs" in result.stdout
    assert "0/0, 0/2" in result.stdout


def test_letters_are_removed(desk: Desk) -> None:
    """Nothing of the customer can be read from the topic, and all else lies there once, whole and in its order."""
    desk.run("--dead-letters", "--dry-run")
    assert len(desk.letters()) == len(OURS) + len(OTHERS)
    assert desk.run("--dead-letters")["dead_letters"]["removed"] == 5
    left = [(record.key, record.value, tuple(record.headers)) for record in desk.letters()]
    assert left == [(one.key, one.value, tuple(one.headers)) for one in OTHERS.values()]
    assert desk.run("--dead-letters")["dead_letters"] == {"count": 0, "places": [], "removed": 0, "unknown": None}
    assert len(desk.letters()) == len(OTHERS)


def test_what_was_broken_off_is_finished(desk: Desk) -> None:
    """Copies without the deletion lose nothing, and the next time all else lies there once."""
    once = [(record.key, record.value, tuple(record.headers)) for record in desk.letters()]
    asyncio.run(desk.copies())
    again = [(record.key, record.value, tuple(record.headers)) for record in desk.letters()]
    assert again == once + [(one.key, one.value, tuple(one.headers)) for one in OTHERS.values()]
    assert desk.run("--dead-letters")["dead_letters"]["removed"] == 5
    left = [(record.key, record.value, tuple(record.headers)) for record in desk.letters()]
    assert left == [(one.key, one.value, tuple(one.headers)) for one in OTHERS.values()]


def test_places_that_changed_since_the_question(desk: Desk) -> None:
    """While somebody is asked, another request writes the partition anew, and one more letter comes: none is left."""
    late = letter("sink", identify(CUSTOMER, {"name": "Jane"}, timestamp_s=AT_S), CUSTOMER.encode())

    async def both() -> tuple[CustomerLetters, CustomerLetters]:
        theirs = await look(desk.settings, CUSTOMER, must=True)
        others = await look(desk.settings, "cus_2", must=True)
        await remove(desk.settings, others)
        await desk._write(desk.settings.dead_letters_topic, [late], 0)
        await remove(desk.settings, theirs)
        return theirs, others

    theirs, others = asyncio.run(both())
    assert (others.removed, theirs.removed) == (1, len(OURS) + 1)
    left = [one for name, one in OTHERS.items() if name != "another customer"]
    assert [(record.key, record.value) for record in desk.letters()] == [(one.key, one.value) for one in left]


def test_a_compacted_topic_gets_tombstones(desk: Desk) -> None:
    """Where nothing is deleted by age, a null record takes the place under each key, and is no letter itself."""
    desk.set_policy("compact")
    assert desk.run("--dead-letters")["dead_letters"]["removed"] == 5
    buried = {record.key for record in desk.letters() if record.value is None}
    assert buried == {record.key for record in OURS.values()}
    listed = CliRunner().invoke(build(), ["dlq", "list", "--json"], env=desk.environ).stdout.splitlines()
    assert len(listed) == len(OURS) + len(OTHERS) - 1


def test_nobody_may_look(desk: Desk) -> None:
    """Without the letters' topic the request is sent and says what is not known; with `--dead-letters` it is not."""
    told = desk.run(PIPELINE_DEAD_LETTERS_TOPIC="nowhere")
    assert told["sent"] is True
    assert told["dead_letters"]["count"] is None
    assert "nowhere" in told["dead_letters"]["unknown"]
    command = ["forget", CUSTOMER, "--yes", "--dead-letters"]
    failure = CliRunner().invoke(build(), command, env=desk.environ | {"PIPELINE_DEAD_LETTERS_TOPIC": "nowhere"})
    assert isinstance(failure.exception, PipelineError)
    assert isinstance(failure.exception, TopicError)


async def test_what_may_not_be_deleted_is_said(chain_settings: ChainSettings) -> None:
    """A refusal names the partition, and the right or the policy that it takes."""
    settings = await chain_settings(partitions=1)
    async with open_admin(settings) as admin:
        with pytest.raises(TopicError, match=r"dead-letters/0: .*OUT_OF_RANGE.*DELETE.*cleanup\.policy"):
            await admin.delete_records(settings.dead_letters_topic, {0: 10})


def invoke(desk: Desk, *arguments: str, **environ: str) -> Any:
    """The command as it is typed."""
    return CliRunner().invoke(build(), ["forget", *arguments], env=desk.environ | environ)


def known_as(desk: Desk, customer_id: str, person: list[Any]) -> None:
    """One more customer in the state."""
    fact: list[Any] = [1, AT_S, None, None, person, [AT_S, AT_MS, "jane@example.com"], None, None, None, {}]
    record = OutRecord(f"{customer_id}\0identity\0".encode(), json.dumps(fact).encode(), ())
    desk.write(desk.settings.customers_topic, [record], partition_of(customer_id.encode(), PARTITIONS))


def test_a_person_is_named_instead_of_a_customer(desk: Desk) -> None:
    """Every customer behind the id at Customer.io is forgotten, and no other; all are named before."""
    known_as(desk, "cus_2", [AT_S, AT_MS, "u_7", "metadata.user"])
    known_as(desk, "cus_3", [AT_S, AT_MS, "u_8", "metadata.user"])
    told = json.loads(invoke(desk, "--person", "u_7", "--dry-run", "--json").stdout)
    assert (told["sent"], [one["sent"] for one in told["customers"]]) == (False, [False, False])
    told = json.loads(invoke(desk, "--person", "u_7", "--customerio", "delete", "--yes", "--json").stdout)
    assert [(one["customer_id"], one["customerio"], one["sent"]) for one in told["customers"]] == [
        (CUSTOMER, "delete", True),
        ("cus_2", "delete", True),
    ]
    assert told["customers"][0]["dead_letters"]["count"] == 5
    assert f"u_7 is {CUSTOMER}, cus_2" in invoke(desk, "--person", "u_7", "--dry-run").output


def test_a_person_who_goes_by_an_address(desk: Desk) -> None:
    """With the policy `email`, whatever its capitals; an address that is a contact alone is nobody's id."""
    known_as(desk, "cus_4", [AT_S, AT_MS, "jane@example.com", "email"])
    told = json.loads(
        invoke(desk, "--person", "Jane@example.com", "--yes", "--json", PIPELINE_PERSON_ID="email").stdout
    )
    assert [one["customer_id"] for one in told["customers"]] == ["cus_4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--person", "u_99", "--yes"), r"no customer is known as u_99 .*PIPELINE_PERSON_ID \(customer_id\)"),
        (("--person", "u_6", "--yes"), rf"no customer is known as u_6 .*forgotten already: {CUSTOMER}"),
        (("--person", "u_7"), "without a terminal"),
        (("jane@example.com", "--yes"), "not an address.*--person"),
        (("cus_\udcff", "--yes"), "not UTF-8"),
        (("--person", "u_\udcff", "--yes"), "not UTF-8"),
    ],
)
def test_nobody_is_guessed(desk: Desk, arguments: tuple[str, ...], message: str) -> None:
    """Without a customer behind it nothing is sent, and it is said why."""
    with pytest.raises(InputError, match=message):
        raise invoke(desk, *arguments).exception


@pytest.mark.parametrize("arguments", [(), (CUSTOMER, "--person", "u_7")])
def test_one_of_both(desk: Desk, arguments: tuple[str, ...]) -> None:
    """A customer or a person, not both and not neither."""
    result = invoke(desk, *arguments)
    assert result.exit_code == 2
    assert "either CUSTOMER or --person" in result.output
