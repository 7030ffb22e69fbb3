"""While the dead-letter topic cannot be written, a stage waits; it does not skip."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic import SecretStr

from pipeline.customerio.operations import event
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.dodo import samples
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.records import header
from pipeline.settings import Settings, Stage
from tests import forked

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]
Start = Callable[[Stage, Settings], subprocess.Popen[bytes]]

BAD = b'{"oops'
OTHERS = 20
"""Other customers behind the bad record: not all of them share its lane, so some go on."""

WITHIN_S = 300.0
POLL_S = 0.05


@pytest.fixture
def start(tmp_path: Path, environment: Callable[[Settings], dict[str, str]]) -> Iterator[Start]:
    """`start(stage, settings)`: the stage as a process; killed at the end."""
    with ExitStack() as stack:

        def begin(stage: Stage, settings: Settings) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{stage}.log").open("wb"))
            process = forked.Popen[bytes](
                [sys.executable, "-m", "pipeline", stage], env=environment(settings), stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield begin


async def take_away(settings: Settings) -> None:
    """Delete the dead letters' topic, as an operator's mistake or a cluster being rebuilt would."""
    async with open_admin(settings) as asking, asyncio.timeout(WITHIN_S):
        await asking.delete([settings.dead_letters_topic])
        while await asking.partitions([settings.dead_letters_topic]):  # noqa: ASYNC110 - Kafka does not announce it
            await asyncio.sleep(POLL_S)


async def give_back(settings: Settings) -> None:
    """Create it anew."""
    async with open_admin(settings) as admin:
        await admin.create(settings.dead_letters_topic, 1, 1, {})


async def records_of(settings: Settings, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """What the topic's only partition holds now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        found: list[ConsumerRecord[bytes, bytes]] = []
        while await consumer.position(tp) < end:
            found += (await consumer.getmany(timeout_ms=200)).get(tp, [])
        return found
    finally:
        await consumer.stop()


async def committed(settings: Settings, group: str, topic: str) -> int:
    """The group's offset, 0 without one."""
    tp = TopicPartition(topic, 0)
    async with open_admin(settings) as admin:
        return (await admin.committed(group, [tp]))[tp] or 0


async def until(condition: Callable[[], Awaitable[bool]], process: subprocess.Popen[bytes]) -> None:
    """Wait until `condition`, while the stage lives."""
    async with asyncio.timeout(WITHIN_S):
        while not await condition():
            assert process.poll() is None
            await asyncio.sleep(POLL_S)


async def offer(settings: Settings, topic: str, *records: tuple[bytes, bytes]) -> None:
    """Append records, each a key and a value."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    await asyncio.gather(*[await producer.send(topic, value, key) for key, value in records])
    await producer.stop()


async def waits(
    settings: Settings,
    stage: Stage,
    process: subprocess.Popen[bytes],
    good: bytes,
    others_went: Callable[[], Awaitable[bool]],
) -> None:
    """The second of some records must become a dead letter; nothing from it on is committed until it is one."""
    topic, group = (
        (settings.webhooks_topic, settings.transform_group)
        if stage == "transform"
        else (settings.operations_topic, settings.sink_group)
    )

    async def first_done() -> bool:
        return await committed(settings, group, topic) == 1

    async def all_done() -> bool:
        return await committed(settings, group, topic) == 2 + OTHERS

    await offer(settings, topic, (b"cus_1", good))
    await until(first_done, process)
    await take_away(settings)
    others = [(b"other_%d" % number, good) for number in range(OTHERS)]
    await offer(settings, topic, (b"cus_1", BAD), *others)
    await until(others_went, process)
    assert await committed(settings, group, topic) == 1
    await give_back(settings)
    await until(all_done, process)
    [letter] = await records_of(settings, settings.dead_letters_topic)
    assert (letter.key, letter.value) == (b"cus_1", BAD)
    assert header(letter.headers, "dlq-stage") == stage.encode()


async def test_the_transform_waits(chain_settings: ChainSettings, start: Start) -> None:
    """What cannot be mapped waits for its dead letter, through the absence of the topic."""
    settings = await chain_settings(partitions=1, state=False)  # one payment stands for all, which a state tells once

    async def others_went() -> bool:
        return len(await records_of(settings, settings.operations_topic)) == 2 * (1 + OTHERS)

    good = samples.load("payment.succeeded")
    await waits(settings, "transform", start("transform", settings), good, others_went)


async def test_the_sink_waits(chain_settings: ChainSettings, start: Start) -> None:
    """What is no operation waits for its dead letter, although Customer.io takes the others."""
    async with SandboxServer() as server:
        settings = await chain_settings(
            partitions=1,
            customerio_url=server.url,
            customerio_site_id="site",
            customerio_api_key=SecretStr("key"),
        )

        async def others_went() -> bool:
            return bool(server.sandbox.stats()["accepted"] > 1)

        good = event("cus_1", "tested", id="0" * 26, timestamp_s=1_790_000_000, attributes={})
        await waits(settings, "sink", start("sink", settings), good, others_went)
