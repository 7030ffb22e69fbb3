"""Every stage and command works with exactly the rights that are printed for it, and names what it lacks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.errors import TopicError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.rights import COMMANDS, STAGES, Operation, Right, missing, rights_of, united
from pipeline.kafka.cluster.rights_render import acls, strimzi_users
from pipeline.kafka.cluster.start_checks import check_rights
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.kafka.local.broker import free_port
from pipeline.kafka.security import client_options
from pipeline.settings import Settings
from tests import forked
from tests.kafka.shared import SharedKafka

WITHIN_S = 180.0
SECRET = "whsec_" + "c2VjcmV0" * 4
DEFAULTS = Settings.load()

Spawn = Callable[..., subprocess.Popen[bytes]]


def test_what_is_not_known_is_not_missing() -> None:
    """Nor is what is not needed; a bit that is not there is."""
    read, write = Right("topic", "t", Operation.READ), Right("topic", "t", Operation.WRITE)
    assert missing([read, write], {("topic", "t"): 1 << Operation.READ}) == [write]
    assert missing([read, write], {("topic", "t"): None}) == []
    assert missing([read, write], {}) == []
    assert missing([read, write], {("topic", "t"): 0}) == [read, write]


def test_the_stages_rights() -> None:
    """Without the customers' state nothing of it is asked for; each right once."""
    assert len(set(rights_of("transform", DEFAULTS))) == len(rights_of("transform", DEFAULTS))
    needed = {str(right) for right in rights_of("transform", DEFAULTS) if right.needed}
    assert needed == {
        "READ on topic dodo.webhooks",
        "WRITE on topic dodo.webhooks",
        "WRITE on topic customerio.operations",
        "WRITE on topic dodo-customerio.dead-letters",
        "READ on topic dodo.customers",
        "WRITE on topic dodo.customers",
        "READ on group dodo-customerio.transform",
    }
    without = rights_of("transform", Settings.load(state=False))
    assert {str(right) for right in without if right.needed} == needed - {
        "WRITE on topic dodo.webhooks", "READ on topic dodo.customers", "WRITE on topic dodo.customers"
    }  # fmt: skip


def test_the_topic_of_differences_is_no_need() -> None:
    """Without the right the transform runs, and its differences are lost; where no setting names it nobody asks."""
    (right,) = [one for one in rights_of("transform", Settings.load(shadow_topic="s")) if one.name == "s"]
    assert right == Right("topic", "s", Operation.WRITE, needed=False)


def test_preview_only_reads() -> None:
    """It writes nothing and joins no group; facts are nothing to it where there is no state."""
    webhooks, facts = (Right("topic", name, Operation.READ) for name in ("dodo.webhooks", "dodo.customers"))
    assert rights_of("preview", DEFAULTS) == [webhooks, facts]
    assert rights_of("preview", Settings.load(state=False)) == [webhooks]


def test_explain_reads_facts_alone() -> None:
    """With --state; without a state it asks nobody."""
    assert rights_of("explain", DEFAULTS) == [Right("topic", "dodo.customers", Operation.READ)]
    assert rights_of("explain", Settings.load(state=False)) == []


def test_topics_may_move_the_facts() -> None:
    """`topics apply --add-partitions` ends with the work of `dodo-cio state`, so it has those rights too."""
    extra = set(rights_of("topics", DEFAULTS)) - set(rights_of("topics", Settings.load(state=False)))
    assert {(one.kind, one.name, one.operation) for one in extra} == {
        (one.kind, one.name, one.operation) for one in rights_of("state", DEFAULTS)
    }
    assert not any(one.needed for one in extra)


def test_the_two_forms_say_the_same() -> None:
    """`kafka-acls.sh` lines and Strimzi's users allow each user what the list has, and nothing else."""
    lines = [line for line in acls(DEFAULTS, users="u-").splitlines() if line.startswith("kafka-acls.sh")]
    by_lines: dict[str, set[tuple[str, str, str]]] = {}
    for line in lines:
        words = line.split()
        user = words[words.index("--allow-principal") + 1].removeprefix("User:u-")
        kind, name = words[-2].removeprefix("--"), words[-1]
        operations = [words[number + 1] for number, word in enumerate(words) if word == "--operation"]
        by_lines.setdefault(user, set()).update((kind, name, operation) for operation in operations)
    by_users = {
        one["metadata"]["name"].removeprefix("u-"): {
            (acl["resource"]["type"], acl["resource"]["name"], operation)
            for acl in one["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        for one in yaml.safe_load_all(strimzi_users(DEFAULTS, cluster="kafka", users="u-"))
    }
    assert by_lines == by_users
    for stage in STAGES:
        rights = united(rights_of(stage, DEFAULTS))
        assert by_users[stage] == {(*place, one.word) for place, operations in rights.items() for one in operations}
    assert set(by_users) == {*STAGES, "operator"}


@pytest.mark.kafka
async def test_a_broker_without_acls_allows_all(kafka: SharedKafka) -> None:
    """Nothing is missing where nobody is asked."""
    settings = Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers)
    for stage in STAGES:
        await check_rights(settings, stage)


@pytest.fixture
def spawn(environment: Callable[[Settings], dict[str, str]], tmp_path: Path) -> Iterator[Spawn]:
    """Starts `dodo-cio …` as a user; its log is `<name>.log`. Whatever still runs at the end is killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(settings: Settings, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = (sys.executable, "-m", "pipeline", *arguments)
            process = forked.Popen[bytes](command, env=environment(settings), stdout=log, stderr=log, cwd=tmp_path)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def names() -> dict[str, str]:
    """Topics and groups of one test, of which no user may do anything yet."""
    unique = f"exact.{uuid.uuid4().hex[:8]}"
    kinds = (
        "webhooks_topic",
        "operations_topic",
        "dead_letters_topic",
        "customers_topic",
        "transform_group",
        "sink_group",
    )
    return {kind: f"{unique}.{kind}" for kind in kinds}


async def created(secure_kafka: Any, called: dict[str, str]) -> None:
    """The topics exist."""
    settings = secure_kafka.admin(**called)
    specs = [replace(spec, partitions=1) for spec in load_specs(settings)]
    assert not await apply(settings, plan(specs, {}))


async def until_allowed(settings: Settings, rights: list[Right]) -> None:
    """The broker lets the user do this."""
    async with asyncio.timeout(WITHIN_S), open_admin(settings) as admin:
        while True:
            allowed: dict[Any, int | None] = {}
            for right in rights:
                if right.kind == "group":
                    allowed["group", right.name] = await admin.allowed_on_group(right.name)
            found = await admin.allowed_on_topics({right.name for right in rights if right.kind == "topic"})
            allowed |= {("topic", name): bits for name, bits in found.items()}
            if not missing(rights, allowed):
                return
            await asyncio.sleep(0.1)


@pytest.mark.kafka
async def test_all_stages_and_commands_under_exactly_their_rights(
    secure_kafka: Any, tmp_path: Path, spawn: Spawn
) -> None:
    """A webhook goes from ingest to Customer.io, and every command does its work, each user with its own rights alone;
    nobody says that anything is unknown."""  # noqa: D205, D209 - one promise
    called = names()
    await created(secure_kafka, called)
    port = free_port()
    async with SandboxServer(SandboxConfig()) as sandbox:
        common = {
            **called,
            "dodo_webhook_secrets": SECRET,
            "customerio_url": sandbox.url,
            "customerio_site_id": "site",
            "customerio_api_key": "key",
            "host": "127.0.0.1",
            "log_format": "json",
        }

        def of(user: str, stage: str) -> Settings:
            number = port if stage == "ingest" else 0
            settings: Settings = secure_kafka.user(user, **common, port=number, data_dir=tmp_path / stage)
            return settings

        for stage in STAGES:
            rights = rights_of(stage, of(stage, stage))
            await secure_kafka.allow(stage, rights)
            await until_allowed(of(stage, stage), rights)
        every = [right for command in COMMANDS for right in rights_of(command, of("operator", "operator"))]
        await secure_kafka.allow("operator", set(every))
        await until_allowed(of("operator", "operator"), every)

        async def command(*arguments: str) -> tuple[int, str]:
            process = spawn(of("operator", "ingest"), f"command-{uuid.uuid4().hex[:6]}", *arguments)
            code = await asyncio.to_thread(process.wait, WITHIN_S)
            return code, (tmp_path / f"{_last(tmp_path)}").read_text()

        stages = {stage: spawn(of(stage, stage), stage, stage) for stage in STAGES}
        async with asyncio.timeout(WITHIN_S):
            while True:
                for stage, process in stages.items():
                    assert process.poll() is None, (tmp_path / f"{stage}.log").read_text()
                code, _ = await command("send-test")
                if code == 0:
                    break
            while not sandbox.sandbox.workspace.events:
                for stage, process in stages.items():
                    assert process.poll() is None, (tmp_path / f"{stage}.log").read_text()
                await asyncio.sleep(0.2)

        code, said = await command("lag", "--json")
        assert code == 0, said
        groups = json.loads(said)["groups"]
        assert [(group["members"], group["note"]) for group in groups] == [(1, None), (1, None)]
        assert all(group["records"] is not None for group in groups)
        for arguments in (
            ("topics", "plan"),
            ("lag", "--acknowledge"),
            ("dlq", "list"),
            ("explain", "--state", "--sample", "payment.succeeded"),
            ("forget", "cus_0NExampleCustomer0001", "--yes"),
        ):
            code, said = await command(*arguments)
            assert code == 0, said
        for process in stages.values():
            process.send_signal(signal.SIGTERM)
        for stage, process in stages.items():
            said = (tmp_path / f"{stage}.log").read_text()
            assert await asyncio.to_thread(process.wait, WITHIN_S) == 0, said
            assert "unknown" not in said, said
            assert "remembered by this process alone" not in said
    # The mirrors are the transform's, and the rights the operator's.
    process = spawn(of("operator", "transform"), "restore", "state", "restore-topic", "--yes")
    code = await asyncio.to_thread(process.wait, WITHIN_S)
    assert code == 0, (tmp_path / "restore.log").read_text()


@pytest.mark.kafka
async def test_partitions_are_added_under_the_rights_of_topics(secure_kafka: Any, tmp_path: Path, spawn: Spawn) -> None:
    """Who has the rights of `dodo-cio topics` alone adds partitions, and the facts move along."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("blind", **called, data_dir=tmp_path / "data")
    rights = rights_of("topics", settings)
    await secure_kafka.allow("blind", set(rights))
    await until_allowed(settings, rights)
    async with AIOKafkaProducer(**client_options(secure_kafka.admin())) as producer:
        await producer.send_and_wait(settings.customers_topic, b"[5]", key=b"cus_1\0forgotten\0")
    process = spawn(settings, "grow", "topics", "apply", "--yes", "--add-partitions", "--partitions", "3")
    code = await asyncio.to_thread(process.wait, WITHIN_S)
    said = (tmp_path / "grow.log").read_text()
    assert code == 0, said
    assert f"done: add partitions to topic {settings.customers_topic}: from 1 to 3" in said


def _last(directory: Path) -> str:
    return max(directory.glob("command-*.log"), key=lambda path: path.stat().st_mtime_ns).name


@pytest.mark.kafka
async def test_all_that_is_missing_is_named_at_once(secure_kafka: Any, tmp_path: Path, spawn: Spawn) -> None:
    """A user who may do nothing is told everything in one line, and one who lacks two rights those two."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("blind", **called, data_dir=tmp_path / "data", host="127.0.0.1", port=0)
    process = spawn(settings, "nothing", "transform")
    assert await asyncio.to_thread(process.wait, WITHIN_S) == 2
    said = (tmp_path / "nothing.log").read_text()
    needed = [right for right in rights_of("transform", settings) if right.needed]
    assert all(str(right) in said for right in needed), said
    assert "Traceback" not in said
    lacking = {
        Right("topic", settings.customers_topic, Operation.WRITE),
        Right("topic", settings.dead_letters_topic, Operation.WRITE),
    }
    # What can be written can be seen: the others are told from what is not there at all.
    await secure_kafka.allow("blind", set(needed) - lacking)
    await until_allowed(settings, [right for right in needed if right not in lacking])
    with pytest.raises(TopicError) as told:
        await check_rights(settings, "transform")
    assert [str(right) for right in needed if str(right) in str(told.value)] == [
        str(right) for right in needed if right in lacking
    ]


@pytest.mark.kafka
async def test_explain_without_its_right(secure_kafka: Any, tmp_path: Path, spawn: Spawn) -> None:
    """Who may see the customers' topic and not read it is told so in one line, with exit code 2."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("blind", **called, data_dir=tmp_path / "data")
    look = Right("topic", settings.customers_topic, Operation.DESCRIBE)
    await secure_kafka.allow("blind", [look])
    await until_allowed(settings, [look])
    async with AIOKafkaProducer(**client_options(secure_kafka.admin())) as producer:
        await producer.send_and_wait(settings.customers_topic, b"[5]", key=b"cus_1\0forgotten\0")
    process = spawn(settings, "explain", "explain", "--state", "--sample", "payment.succeeded")
    code = await asyncio.to_thread(process.wait, WITHIN_S)
    said = (tmp_path / "explain.log").read_text()
    assert code == 2, said
    assert f"topic {settings.customers_topic} may not be read: this user has no Read permission on it" in said
    assert "Traceback" not in said


async def until_assigned(process: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    """Wait until the worker has its partitions; fail with what it `said` when it ends first."""
    async with asyncio.timeout(WITHIN_S):
        while "Partitions assigned" not in said():
            assert process.poll() is None, said()
            await asyncio.sleep(0.1)


@pytest.mark.kafka
async def test_without_a_look_at_the_configuration(secure_kafka: Any, tmp_path: Path, spawn: Spawn) -> None:
    """The stage starts and works; that it cannot tell is said, and nothing is claimed."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user("blind", **called, data_dir=tmp_path / "data", host="127.0.0.1", port=0)
    needed = [right for right in rights_of("transform", settings) if right.needed]
    await secure_kafka.allow("blind", needed)
    await until_allowed(settings, needed)
    log = tmp_path / "blind.log"
    process = spawn(settings, "blind", "transform")
    await until_assigned(process, log.read_text)
    assert "Whether topics are set so that nothing is lost is unknown" in log.read_text()
    assert "A topic is set so that records can be lost" not in log.read_text()


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["topic", "group"])
async def test_a_right_that_is_taken_away_at_work(secure_kafka: Any, tmp_path: Path, spawn: Spawn, kind: str) -> None:
    """READ on the source, or on the group: one line that names it, exit code 2, and no traceback."""
    called = names()
    await created(secure_kafka, called)
    settings = secure_kafka.user(
        "blind", **called, data_dir=tmp_path / "data", host="127.0.0.1", port=0, state=False, log_format="json"
    )
    rights = rights_of("transform", settings)
    await secure_kafka.allow("blind", rights)
    await until_allowed(settings, rights)
    log = tmp_path / "worker.log"
    process = spawn(settings, "worker", "transform")
    await until_assigned(process, log.read_text)
    name = settings.webhooks_topic if kind == "topic" else settings.transform_group
    async with AIOKafkaProducer(**client_options(secure_kafka.admin())) as producer:

        async def flow() -> None:
            while True:
                await producer.send_and_wait(settings.webhooks_topic, b"{}", key=b"k")

        flowing = asyncio.create_task(flow())
        await secure_kafka.forbid("blind", Right("topic" if kind == "topic" else "group", name, Operation.READ))
        try:
            assert await asyncio.to_thread(process.wait, WITHIN_S) == 2, log.read_text()
        finally:
            flowing.cancel()
            await asyncio.gather(flowing, return_exceptions=True)
    said = log.read_text()
    expected = f"this user may not read topic {name}: allow" if kind == "topic" else f"the consumer group {name}: allow"
    assert said.count(expected) == 1, said
    assert "Traceback" not in said
    assert '"exception"' not in said, said
