"""What `trace` reads of a real Kafka while stages go on under its hands."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from pipeline.deadletters.envelope import dead_letter_of
from pipeline.dodo import samples
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.records import OutRecord
from pipeline.kafka.worker.done_ahead import DoneAhead, Witness, rendered
from pipeline.settings import Settings
from pipeline.trace.again import Decider
from pipeline.trace.assembly import stories
from pipeline.trace.search import search
from pipeline.trace.story import Story
from pipeline.trace.wanted import Wanted

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]

BODY = samples.load("payment.succeeded")
KEY: bytes = json.loads(BODY)["data"]["customer"]["customer_id"].encode()
HEADERS = (("webhook-id", b"msg_1"), ("dodo-type", b"payment.succeeded"), ("dodo-mode", b"live"))
EVENT = json.dumps({"type": "person", "identifiers": {"id": KEY.decode()}, "action": "event", "name": "paid"}).encode()


async def write(settings: Settings, topic: str, record: OutRecord) -> None:
    """Append a record."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, record.value, record.key, partition=0, headers=list(record.headers))
    finally:
        await producer.stop()


async def commit(settings: Settings, group: str, topic: str, offset: int = 1, text: str = "") -> None:
    """The group is before this offset of the topic, and has left this text beside it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): (offset, text)})
    finally:
        await consumer.stop()


async def map_it(settings: Settings) -> None:
    """What the transform does with the webhook."""
    source = f"{settings.webhooks_topic}/0/0".encode()
    headers = (("op-id", b"op_1"), ("webhook-id", b"msg_1"), ("source", source))
    await write(settings, settings.operations_topic, OutRecord(KEY, EVENT, headers))
    await commit(settings, settings.transform_group, settings.webhooks_topic)


async def give_it_up(settings: Settings) -> None:
    """What the sink does with an operation that Customer.io refuses."""
    letter = dead_letter_of(
        KEY, EVENT, (("op-id", b"op_1"), ("webhook-id", b"msg_1")), f"{settings.operations_topic}/0/0",
        stage="sink", class_="refused", reason="no", at_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip
    await write(settings, settings.dead_letters_topic, letter)
    await commit(settings, settings.sink_group, settings.operations_topic)


async def goes_by_retention(settings: Settings) -> None:
    """The operations of weeks ago."""
    async with open_admin(settings) as admin:
        await admin.delete_records(settings.operations_topic, {0: 1})


async def traced(
    settings: Settings, behind: str, happens: Sequence[Callable[[Settings], Coroutine[Any, Any, None]]]
) -> Story:
    """The webhook's story when these things happen as soon as the first record of `behind` was read."""
    left = list(happens)

    def told(what: str, done: int, total: int) -> None:  # noqa: ARG001 - as `Told`
        while what == behind and left:
            with ThreadPoolExecutor(1) as beside:  # nothing of the search goes on before it has happened
                beside.submit(asyncio.run, left.pop(0)(settings)).result()

    wanted = Wanted("webhook-id", "msg_1")
    found = await search(settings, wanted, since_ms=0, until_ms=None, limit=10, told=told)
    assert not left
    (story,) = stories(found, settings, Decider(settings))
    return story


async def test_what_is_given_up_meanwhile_was_not_accepted(chain_settings: ChainSettings) -> None:
    """The sink gives an operation up behind the letters that were read: that it has come past it proves nothing."""
    settings = await chain_settings(partitions=1)
    await write(settings, settings.webhooks_topic, OutRecord(KEY, BODY, HEADERS))
    await map_it(settings)
    story = await traced(settings, settings.operations_topic, [give_it_up])
    assert (story.fate, [one.fate for one in story.operations]) == ("waits", ["waits"])
    story = await traced(settings, settings.operations_topic, [])
    assert (story.fate, [one.fate for one in story.operations]) == ("dead-letter", ["dead-letter"])


async def test_what_is_mapped_meanwhile_has_more_to_tell(chain_settings: ChainSettings) -> None:
    """The transform maps a webhook behind the operations that were read: no step of it is told as an end."""
    settings = await chain_settings(partitions=1)
    await write(settings, settings.webhooks_topic, OutRecord(KEY, BODY, HEADERS))
    other = (("op-id", b"op_0"), ("webhook-id", b"msg_0"))
    await write(settings, settings.operations_topic, OutRecord(KEY, EVENT, other))
    story = await traced(settings, settings.operations_topic, [map_it])
    assert (story.fate, story.operations) == ("waits", [])
    story = await traced(settings, settings.operations_topic, [])
    assert [one.op_id for one in story.operations] == ["op_1"]


async def test_operations_that_retention_has_taken(chain_settings: ChainSettings) -> None:
    """Webhooks lie for a month and operations for a week: a webhook of weeks ago is not told to have caused nothing."""
    settings = await chain_settings(partitions=1)
    await write(settings, settings.webhooks_topic, OutRecord(KEY, BODY, HEADERS))
    await map_it(settings)
    await goes_by_retention(settings)
    story = await traced(settings, settings.operations_topic, [])
    assert story.fate == "unknown"
    assert settings.operations_topic in story.reason
    assert not any("DESCRIBE" in text for text in story.advice)
    await give_it_up(settings)
    assert (await traced(settings, settings.operations_topic, [])).fate == "dead-letter"


async def test_a_webhook_behind_what_retention_has_taken(chain_settings: ChainSettings) -> None:
    """Of one that is younger than the oldest operation left, all that it caused is there."""
    settings = await chain_settings(partitions=1)
    other = OutRecord(KEY, EVENT, (("op-id", b"op_0"), ("webhook-id", b"msg_0")))
    for _ in range(2):
        await write(settings, settings.operations_topic, other)
    await goes_by_retention(settings)
    await write(settings, settings.webhooks_topic, OutRecord(KEY, BODY, HEADERS))
    await commit(settings, settings.transform_group, settings.webhooks_topic)
    story = await traced(settings, settings.operations_topic, [])
    assert story.fate == "nothing-new"


async def test_what_is_accepted_beyond_a_record_that_stands_still(chain_settings: ChainSettings) -> None:
    """Somebody's operation fails for minutes: those behind it that Customer.io took do not wait."""
    settings = await chain_settings(partitions=1)
    await write(settings, settings.webhooks_topic, OutRecord(KEY, BODY, HEADERS))
    other = OutRecord(b"cus_0", EVENT, (("op-id", b"op_0"), ("webhook-id", b"msg_0")))
    await write(settings, settings.operations_topic, other)
    await map_it(settings)
    await map_it(settings)
    ahead = rendered(DoneAhead(0, 0b010, Witness(2, 0)), 1000)
    await commit(settings, settings.sink_group, settings.operations_topic, 0, ahead)
    story = await traced(settings, settings.operations_topic, [])
    assert (story.fate, [one.fate for one in story.operations]) == ("accepted", ["accepted"])
    await commit(settings, settings.sink_group, settings.operations_topic, 0, ahead.replace("done:0", "done:1"))
    story = await traced(settings, settings.operations_topic, [])
    assert (story.fate, [one.fate for one in story.operations]) == ("waits", ["waits"])


def webhook(customer_id: str, webhook_id: str, **data: Any) -> OutRecord:
    """A licence key, whose body names the customer by id alone; `data` may say more."""
    body = {"type": "license_key.created", "data": {"customer_id": customer_id, **data}}
    return OutRecord(customer_id.encode(), json.dumps(body).encode(), (("webhook-id", webhook_id.encode()),))


async def found_by(settings: Settings, wanted: Wanted, limit: int = 10) -> tuple[list[str], list[str]]:
    """The ids of the webhooks that a search shows, and what it says it does not know."""
    found = await search(settings, wanted, since_ms=0, until_ms=None, limit=limit, told=lambda *_: None)
    return [one.webhook_id for one in stories(found, settings, Decider(settings))], found.unknown


async def test_an_address_finds_what_names_the_customer_by_id_alone(chain_settings: ChainSettings) -> None:
    """Before and behind the webhook that has both, in the topic and among the dead letters."""
    settings = await chain_settings(partitions=1)
    address = {"customer": {"customer_id": "cus_1", "email": "ada@example.com"}}
    for one in (
        webhook("cus_1", "msg_1"), webhook("cus_1", "msg_2", **address), webhook("cus_12", "msg_3"),
        webhook("cus_1", "msg_4"),
    ):  # fmt: skip
        await write(settings, settings.webhooks_topic, one)
    await write(settings, settings.dead_letters_topic, refused(webhook("cus_1", "msg_5")))
    ids, unknown = await found_by(settings, Wanted("customer", "Ada@example.com"))
    assert (ids, unknown) == (["msg_1", "msg_2", "msg_4", "msg_5"], [])


def refused(record: OutRecord) -> OutRecord:
    """The dead letter of a webhook that ingest did not take."""
    return dead_letter_of(
        record.key, record.value, record.headers, "", stage="ingest", class_="oversize", reason="too large",
        at_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip


async def test_a_limit_counts_what_became_a_dead_letter_alone(chain_settings: ChainSettings) -> None:
    """The newest webhooks are shown, also those that ingest gave up, which are in no other topic."""
    settings = await chain_settings(partitions=1)
    for number in (1, 2, 3):
        await write(settings, settings.webhooks_topic, webhook("cus_1", f"msg_{number}"))
    await write(settings, settings.dead_letters_topic, refused(webhook("cus_1", "msg_4")))
    ids, unknown = await found_by(settings, Wanted("customer", "cus_1"), limit=2)
    assert ids == ["msg_3", "msg_4"]
    assert unknown[0].startswith("2 older webhooks are left out")
    await write(settings, settings.dead_letters_topic, refused(webhook("cus_1", "msg_5")))
    assert (await found_by(settings, Wanted("customer", "cus_1"), limit=1))[0] == ["msg_5"]
