"""The examination of a real cluster: all is well, what is wrong is named, and looking changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from pipeline.doctor.examination import examine
from pipeline.doctor.findings import CHECKS, Finding
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.rights import Operation, Right, rights_of
from pipeline.kafka.records import DLQ_CLASS, DLQ_STAGE
from pipeline.settings import Settings
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.partition_count import began_value
from tests.conftest import ChainSettings
from tests.kafka import growth
from tests.kafka.cluster.test_rights import created, names, until_allowed

pytestmark = pytest.mark.kafka

ON_KAFKA = tuple(
    check for check in CHECKS if check not in {"settings", "installation", "customerio", "dodo", "mapping"}
)


async def examined(settings: Settings) -> dict[tuple[str, str], Finding]:
    """Findings by check and subject, of what is asked of the cluster."""
    found = [finding async for finding in examine(settings, ON_KAFKA)]
    assert not [one for one in found if "the look itself failed" in one.text], found
    return {(one.check, one.subject): one for one in found}


async def test_a_new_deployment(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Topics are as they should be, everything is allowed, and nobody reads yet; nothing was created by looking."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path)
    found = await examined(settings)
    assert "1 of 1 brokers answer" in found["brokers", settings.kafka_bootstrap_servers].text
    assert found.pop(("brokers", "clock")).verdict == "unknown"  # nothing was ever written
    assert {one.verdict for (check, _), one in found.items() if check in {"brokers", "rights", "topics"}} == {"ok"}
    for group in (settings.transform_group, settings.sink_group):
        assert found["groups", group].verdict == "warning"
        assert "no members" in found["groups", group].text
    assert found["dead-letters", settings.dead_letters_topic].text == "none is open"
    async with open_admin(settings) as admin:
        assert (await admin.group_state(settings.sink_group)).state == "Dead"
        partition = TopicPartition(settings.operations_topic, 0)
        assert await admin.committed(settings.sink_group, [partition]) == {partition: None}


async def test_what_is_wrong(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Facts that would be deleted, a topic that is missing and open dead letters: each named, with what to do."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path)
    async with open_admin(settings) as admin:
        await admin.set_configs(settings.customers_topic, {"cleanup.policy": "delete"})
        await admin.delete([settings.operations_topic])
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        headers = [(DLQ_STAGE, b"transform"), (DLQ_CLASS, b"unmappable")]
        await producer.send_and_wait(settings.dead_letters_topic, b"{}", key=b"k", headers=headers)
    found = await examined(settings)
    customers, letters = found["topics", settings.customers_topic], found["dead-letters", "transform: unmappable"]
    assert (customers.verdict, "cleanup.policy is delete" in customers.text) == ("fault", True)
    assert found["topics", settings.operations_topic].verdict == "fault"
    assert (letters.verdict, letters.text) == ("warning", "1 are open")
    assert "dodo-cio dlq replay --class unmappable" in (letters.remedy or "")


async def test_two_deployments_share_a_group(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Another shop's worker in this shop's group is named with what it reads; a record shows the brokers' clock."""
    settings = await chain_settings(partitions=1, data_dir=tmp_path)
    other = await chain_settings(partitions=1, data_dir=tmp_path)
    at = {"bootstrap_servers": settings.kafka_bootstrap_servers, "group_id": settings.sink_group}
    ours = AIOKafkaConsumer(settings.operations_topic, client_id="dodo-cio", **at)
    theirs = AIOKafkaConsumer(other.operations_topic, client_id="shop-b", **at)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        await producer.send_and_wait(settings.operations_topic, b"{}", key=b"k")
    subject = ("groups", f"members of {settings.sink_group}")
    async with ours:
        await ours.getmany(timeout_ms=0)
        found = await examined(settings)
        assert found[subject].verdict == "ok"
        assert found["brokers", "clock"].verdict == "ok"
        async with theirs, asyncio.timeout(120):
            while True:
                found = {}
                async for finding in examine(settings, ["groups"]):
                    found.setdefault((finding.check, finding.subject), finding)
                if subject in found and found[subject].verdict == "fault":
                    break
                await ours.getmany(timeout_ms=50)
    assert f"reads {other.operations_topic}, and this deployment's group is for" in found[subject].text
    assert "shop-b at " in found[subject].text
    assert "PIPELINE_SINK_GROUP" in (found[subject].remedy or "")


async def test_facts_of_other_partitions(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Facts that were written under another number of partitions are a fault that names the command."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        for number in range(2):
            value = began_value(1_790_000_000_000, "id", 4)
            await producer.send_and_wait(settings.customers_topic, value, key=BEGAN, partition=number)
    found = await examined(settings)
    state = found["state", settings.customers_topic]
    assert state.verdict == "fault"
    assert "were written under 4" in state.text
    assert "state repartition" in state.text


async def test_facts_of_these_partitions(chain_settings: ChainSettings, tmp_path: Path) -> None:
    """Facts under as many partitions as there are, are well; a topic that has not as many as the other is a fault."""
    settings = await chain_settings(partitions=2, data_dir=tmp_path)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        for number in range(2):
            value = began_value(1_790_000_000_000, "id", 2)
            await producer.send_and_wait(settings.customers_topic, value, key=BEGAN, partition=number)
    found = await examined(settings)
    state = found["state", settings.customers_topic]
    assert (state.verdict, "as many as there are" in state.text) == ("ok", True)
    await growth.grow(settings, 3, settings.webhooks_topic)
    found = await examined(settings)
    unequal = found["topics", settings.customers_topic]
    assert (unequal.verdict, "2 partitions, and" in unequal.text) == ("fault", True)


async def test_a_user_who_may_do_nothing(secure_kafka: Any, tmp_path: Path) -> None:
    """Nothing of the cluster may be seen: rights are a fault, everything else is missing or unknown, never well."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("blind", **called, data_dir=tmp_path)
    found = await examined(settings)
    assert {one.verdict for (check, subject), one in found.items() if check == "rights" and subject == "sink"} == {
        "fault"
    }
    assert {one.verdict for (check, _), one in found.items() if check == "groups"} == {"unknown"}
    assert "ok" not in {one.verdict for (check, _), one in found.items() if check in {"topics", "dead-letters"}}


async def test_a_topic_of_which_only_its_name_may_be_seen(secure_kafka: Any, tmp_path: Path) -> None:
    """Its partitions are counted, how it is set is unknown with the right that is missing; so is all of the others."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("operator", **called, data_dir=tmp_path)
    rights = [Right("topic", settings.webhooks_topic, Operation.DESCRIBE)]
    await secure_kafka.allow("operator", rights)
    await until_allowed(settings, rights)
    told = await examined(settings)
    found, other = told["topics", settings.webhooks_topic], told["topics", settings.customers_topic]
    assert (found.verdict, found.remedy) == ("unknown", "allow DESCRIBE_CONFIGS on it")
    assert found.text == "1 partitions, 1 replicas; its configuration may not be read"
    assert (other.verdict, "needs the ACL DESCRIBE" in other.text) == ("unknown", True)


async def test_a_stage_s_own_user(secure_kafka: Any, tmp_path: Path) -> None:
    """One who may do all that the sink does lacks nothing; what others need is unknown, and no fault."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("sink", **called, data_dir=tmp_path)
    rights = rights_of("sink", settings)
    await secure_kafka.allow("sink", rights)
    await until_allowed(settings, rights)
    found = await examined(settings)
    told = {subject: one.verdict for (check, subject), one in found.items() if check == "rights"}
    assert told["sink"] == "ok"
    assert told["transform"] == "unknown"
    assert "fault" not in told.values()


async def test_the_command(
    chain_settings: ChainSettings, tmp_path: Path, environment: Callable[[Settings], dict[str, str]]
) -> None:
    """JSON on stdout alone, the exit code in it and of the process, and no secret anywhere."""
    secret = "whsec_" + "c2VjcmV0" * 4
    settings = await chain_settings(partitions=1, data_dir=tmp_path, dodo_webhook_secrets=secret)
    run = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-m",
            "pipeline",
            "doctor",
            "--json",
            "--only",
            "topics",
            "--only",
            "groups",
            "--only",
            "dodo",
        ],
        env={**os.environ, **environment(settings)},
        capture_output=True,
        check=False,
    )
    document = json.loads(run.stdout)
    assert (run.returncode, document["exit_code"]) == (1, 1), run.stderr
    assert {one["check"] for one in document["findings"]} == {"topics", "groups", "dodo"}
    assert set(document["findings"][0]) == {"check", "subject", "verdict", "text", "remedy"}
    assert b"c2VjcmV0" not in run.stdout + run.stderr
    assert run.stderr == b""
