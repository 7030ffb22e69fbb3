"""`dodo-cio topics` shows, asks, then does; and says what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.errors import InputError
from pipeline.kafka.local.distribution import java, libraries
from pipeline.settings import Settings
from tests.kafka.shared import SharedKafka


@pytest.fixture
def environ(
    kafka: SharedKafka, environment: Callable[[Settings], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An environment whose topics do not exist yet."""
    prefix = uuid.uuid4().hex[:10]
    names = {f"{name}_topic": f"{prefix}.{name}" for name in ("webhooks", "operations", "dead_letters", "customers")}
    variables = environment(Settings.load(kafka_bootstrap_servers=kafka.bootstrap_servers, **names))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    """Exit code, stdout and exception of `dodo-cio topics …`."""
    result = CliRunner().invoke(build(), ["topics", *arguments])
    return result.exit_code, result.stdout, result.exception


@pytest.mark.kafka
@pytest.mark.usefixtures("environ")
def test_from_nothing_to_equal() -> None:
    """Plan and check show four topics to create; apply makes them; after that check is content and apply idle."""
    code, text, _ = run("plan", "--partitions", "2", "--json")
    found = json.loads(text)
    assert (code, found["differs"]) == (0, True)
    assert [step["kind"] for step in found["steps"]] == ["create"] * 4
    assert run("check", "--partitions", "2")[0] == 1

    code, text, _ = run("apply", "--partitions", "2", "--yes")
    assert code == 0
    assert text.count("done: create topic") == 4
    code, text, _ = run("check", "--partitions", "2", "--json")
    assert (code, json.loads(text)["differs"]) == (0, False)
    assert "done:" not in run("apply", "--partitions", "2", "--yes")[1]

    code, text, _ = run("check")  # the files ask for 12
    assert code == 1
    assert "DANGER" in text


@pytest.mark.kafka
@pytest.mark.usefixtures("environ")
def test_no_terminal_to_ask_on() -> None:
    """Without a terminal and without --yes nothing is changed, and the way out is named."""
    _, text, error = run("apply", "--partitions", "1")
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert "--yes" in str(error)
    assert "create topic" in text
    assert run("check", "--partitions", "1")[0] == 1


@pytest.mark.kafka
@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 1), ("y\n", 0, 0)])
def test_asked_on_a_terminal(environ: dict[str, str], answer: str, code: int, left: int) -> None:
    """On a terminal apply asks: no changes nothing, yes does it."""
    controller, terminal = os.openpty()
    try:
        command = [sys.executable, "-m", "pipeline", "topics", "apply", "--partitions", "1"]
        with subprocess.Popen(command, env=environ, stdin=terminal, stdout=subprocess.PIPE) as asking:
            os.write(controller, answer.encode())
            output, _ = asking.communicate()
    finally:
        os.close(controller)
        os.close(terminal)
    assert b"Apply this?" in output
    assert asking.returncode == code
    assert run("check", "--partitions", "1")[0] == left


def test_rendered_for_strimzi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each topic becomes a KafkaTopic under a name that Kubernetes takes, with the real one beside it."""
    monkeypatch.setenv("PIPELINE_WEBHOOKS_TOPIC", "Dodo_Webhooks")
    code, text, _ = run("render", "--cluster", "production", "--replication-factor", "3")
    resources = {resource["metadata"]["name"]: resource for resource in yaml.safe_load_all(text)}
    assert code == 0
    assert set(resources) == {
        "dodo-webhooks",
        "customerio.operations",
        "dodo-customerio.dead-letters",
        "dodo.customers",
    }
    webhooks: dict[str, Any] = resources["dodo-webhooks"]
    assert (webhooks["apiVersion"], webhooks["kind"]) == ("kafka.strimzi.io/v1", "KafkaTopic")
    assert webhooks["metadata"]["labels"] == {"strimzi.io/cluster": "production"}
    assert webhooks["spec"] == {
        "topicName": "Dodo_Webhooks",
        "partitions": 12,
        "replicas": 3,
        "config": {
            "cleanup.policy": "delete",
            "retention.ms": 2592000000,
            "max.message.bytes": 1048588,
            "message.timestamp.type": "LogAppendTime",
        },
    }
    assert "topicName" not in resources["dodo.customers"]["spec"]
    assert resources["dodo.customers"]["spec"]["partitions"] == 12


@pytest.mark.kafka
def test_the_rendered_script_on_kafka(kafka: SharedKafka, environ: dict[str, str], tmp_path: Path) -> None:
    """The shell form, run with Kafka's own tools, leaves a cluster in which plan finds nothing to do."""
    topics, tools = tmp_path / "topics", tmp_path / "tools"
    for directory in (topics, tools):
        directory.mkdir()
    (topics / "one.yaml").write_text(
        "topic: one\nsetting: webhooks_topic\npartitions: 2\n"
        "configs: {cleanup.policy: 'compact,delete', retention.ms: 3600000}\n"
    )
    for tool, main in (
        ("topics", "org.apache.kafka.tools.TopicCommand"),
        ("configs", "org.apache.kafka.tools.ConfigCommand"),
    ):
        script = tools / f"kafka-{tool}.sh"
        script.write_text(f"#!/bin/sh\nexec {java()} -XX:TieredStopAtLevel=1 -cp '{libraries()}/*' {main} \"$@\"\n")
        script.chmod(0o755)
    code, text, _ = run("render", "--format", "shell", "--topics-dir", str(topics))
    assert code == 0
    (tmp_path / "topics.sh").write_text(text)
    subprocess.run(
        ["/bin/sh", str(tmp_path / "topics.sh")],
        env={"PATH": f"{tools}:{os.environ['PATH']}", "BOOTSTRAP": kafka.bootstrap_servers},
        check=True,
        capture_output=True,
    )
    code, text, _ = run("check", "--topics-dir", str(topics), "--json")
    assert (code, json.loads(text)["steps"]) == (0, [])
    assert environ["PIPELINE_WEBHOOKS_TOPIC"] in (tmp_path / "topics.sh").read_text()


def test_a_replication_factor_of_zero() -> None:
    """Zero replicas is no wish that a cluster can meet."""
    assert isinstance(run("render", "--replication-factor", "0")[2], InputError)
