"""A worker on a broker with TLS, users and ACLs: it works with what it needs, and names what it lacks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.sizes import check_sizes, max_message_bytes
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.security import client_options
from pipeline.settings import Settings
from tests.admin import admin_client

pytestmark = pytest.mark.kafka

WORKER = Path(__file__).parents[2] / "chaos" / "copy_worker.py"
WITHIN_S = 300.0

Run = Callable[[Settings], Awaitable[tuple[int, str]]]


@pytest.fixture
def ends(environment: Callable[[Settings], dict[str, str]], tmp_path: Path) -> Run:
    """Runs a copy worker until it ends by itself: its exit code and all that it said."""
    log = tmp_path / "worker.log"

    async def run(settings: Settings) -> tuple[int, str]:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, WORKER, env=environment(settings), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            async with asyncio.timeout(WITHIN_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"it does not end:\n{log.read_text()}") from None
        return code, log.read_text()

    return run


async def created(secure_kafka: Any, tmp_path: Path, **names: str) -> Settings:
    """Settings of the pipeline's user, whose topics exist, whatever they are called."""
    unique = uuid.uuid4().hex[:8]
    names = {
        "webhooks_topic": f"app.{unique}.in",
        "operations_topic": f"app.{unique}.out",
        "transform_group": f"app.{unique}",
        **names,
    }
    async with open_admin(secure_kafka.admin()) as admin:
        for topic in (names["webhooks_topic"], names["operations_topic"]):
            await admin.create(topic, 1, -1, {})
    settings: Settings = secure_kafka.pipeline(data_dir=tmp_path / "data", **names)
    return settings


async def test_an_ordinary_user_is_enough(
    secure_kafka: Any, tmp_path: Path, environment: Callable[[Settings], dict[str, str]]
) -> None:
    """With READ, WRITE and DESCRIBE on its topics and group a worker reads, writes and commits, over SCRAM and TLS."""
    settings = await created(secure_kafka, tmp_path)
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.webhooks_topic, b"1", key=b"k")
    process = await asyncio.create_subprocess_exec(sys.executable, WORKER, env=environment(settings))
    try:
        async with AIOKafkaConsumer(
            settings.operations_topic, **client_options(settings), group_id=None, auto_offset_reset="earliest"
        ) as consumer:
            async with asyncio.timeout(WITHIN_S):
                record = await consumer.getone()
        assert record.value == b"1"
        process.terminate()
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    tp = TopicPartition(settings.webhooks_topic, 0)
    async with open_admin(settings) as admin:
        assert await admin.committed(settings.transform_group, [tp]) == {tp: 1}


async def test_a_group_that_may_not_be_used_is_named(secure_kafka: Any, tmp_path: Path, ends: Run) -> None:
    """The driver keeps the refusal to itself; the worker still ends, with one message and exit code 2."""
    settings = await created(secure_kafka, tmp_path, transform_group="hidden.group")
    code, said = await ends(settings)
    assert said.count("this user may not use the consumer group hidden.group: allow READ on the group") == 1
    assert (code, "Traceback" in said) == (2, False), said


@pytest.mark.parametrize("seen", [False, True], ids=["hidden", "seen"])
async def test_a_topic_that_may_not_be_read_is_named(
    secure_kafka: Any, tmp_path: Path, ends: Run, *, seen: bool
) -> None:
    """A hidden input looks like one without partitions, one that is only seen fails at the fetch: exit code 2."""
    topic = f"hidden.{uuid.uuid4().hex[:8]}"
    settings = await created(secure_kafka, tmp_path, webhooks_topic=topic)
    if seen:
        await allow_describe(secure_kafka, topic)
    code, said = await ends(settings)
    assert said.count(f"this user may not read topic {topic}: allow READ and DESCRIBE on it (ACL)") == 1
    assert (code, "Traceback" in said) == (2, False), said


async def allow_describe(secure_kafka: Any, topic: str) -> None:
    """Let the pipeline's user see the topic, and nothing else (codes of org.apache.kafka.common.acl)."""
    async with admin_client(secure_kafka.admin()) as admin:
        request = CreateAclsRequest(2, topic, 3, "User:pipeline", "*", 8, 3)
        answer = await admin._send_to_controller(request)
        assert [code for code, _ in answer.creation_responses] == [0]


async def test_a_size_limit_that_may_not_be_read_is_unknown(secure_kafka: Any) -> None:
    """It is no fault, and not silently Kafka's default: the start warns of it, and nobody is told a number."""
    topic = f"hidden.{uuid.uuid4().hex[:8]}"
    async with open_admin(secure_kafka.admin()) as admin:
        await admin.create(topic, 1, -1, {"max.message.bytes": "1000"})
    await allow_describe(secure_kafka, topic)
    settings = secure_kafka.pipeline()
    async with asyncio.timeout(WITHIN_S):
        while True:  # the ACL takes a moment
            try:
                assert await check_topics(settings, [topic]) == {topic: 1}
                break
            except TopicError:
                await asyncio.sleep(0.1)
    assert await max_message_bytes(settings, [topic]) == {}
    with capture_logs() as told:
        await check_sizes(settings, topic)
    assert [(line["log_level"], line["topic"]) for line in told] == [("warning", topic)]
    with pytest.raises(TopicError, match=r"max\.message\.bytes is 1000"):
        await check_sizes(secure_kafka.admin(), topic)


async def test_a_topic_that_may_not_be_written_is_named(secure_kafka: Any, tmp_path: Path, ends: Run) -> None:
    """The same for its output, before the group is joined."""
    settings = await created(secure_kafka, tmp_path, operations_topic=f"hidden.{uuid.uuid4().hex[:8]}")
    code, said = await ends(settings)
    assert said.count(f"topic {settings.operations_topic} does not exist or this user may not describe it") == 1
    assert (code, "Traceback" in said) == (2, False), said
