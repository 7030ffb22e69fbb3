"""A local broker is Kafka itself, keeps its data, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.errors import BrokerUnreachableError, InputError, ToolMissingError
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.local import process as local_process
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.ports import Ports
from pipeline.settings import Settings
from tests.kafka.shared import SharedKafka
from tests.kafka.values import values_of

pytestmark = pytest.mark.kafka

WHOLE = range(20_000, 32_768)
"""The range that the module promises."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that these tests may kill and freeze; small, since the run's one runs beside it."""
    with LocalKafka.start(tmp_path_factory.mktemp("own"), heap_mb=256) as broker:
        yield broker


def settings_of(broker: LocalKafka) -> Settings:
    """Settings that reach `broker`."""
    return Settings.load(kafka_bootstrap_servers=broker.bootstrap_servers)


async def produce(broker: LocalKafka, topic: str, value: bytes) -> None:
    """Create the topic and put one record into it, durably."""
    async with open_admin(settings_of(broker)) as admin:
        await admin.create(topic, 1, -1, {})
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        await producer.send_and_wait(topic, value)


def answers(broker: LocalKafka, within_s: float = 60) -> bool:
    """Whether the broker answers an ApiVersions request, the first of every client; of a new JVM it takes a while."""
    host, _, port = broker.bootstrap_servers.partition(":")
    request = b"\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff"  # ApiVersions v0, correlation id 7, no client id
    try:
        with socket.create_connection((host, int(port)), within_s) as connection:
            connection.sendall(len(request).to_bytes(4) + request)
            return len(connection.recv(8)) == 8
    except OSError:
        return False


async def test_sigkill_loses_nothing_acknowledged(own: LocalKafka) -> None:
    """After a SIGKILL the same address has the same records, and the process is another one."""
    await produce(own, "killed", b"kept")
    address, pid = own.bootstrap_servers, own.pid
    own.kill()
    assert not own.alive
    assert not answers(own)
    own.restart()
    assert answers(own)
    assert own.bootstrap_servers == address
    assert own.pid != pid
    assert await values_of(own.bootstrap_servers, "killed") == [b"kept"]


def test_frozen_and_thawed(own: LocalKafka) -> None:
    """A paused broker keeps its connections and answers nothing; resumed, it answers."""
    own.pause()
    try:
        assert own.alive
        assert not answers(own, within_s=0.3)
    finally:
        own.resume()
    assert answers(own)


def test_address_is_outside_the_ephemeral_range(kafka: SharedKafka) -> None:
    """A client that retries a stopped broker can never be given the broker's port as its own and hold it."""
    assert int(kafka.bootstrap_servers.partition(":")[2]) in WHOLE


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """When the process that started a broker is killed, the broker ends too, frozen or not."""
    program = (
        "import sys, time, pathlib\n"
        "from pipeline.kafka.local.broker import LocalKafka\n"
        "broker = LocalKafka.start(pathlib.Path(sys.argv[1]), heap_mb=256)\n"
        "broker.pause()\n"
        "print(broker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert "kafka.Kafka" in local_process.command_line(pid)
        parent.kill()
    deadline = time.monotonic() + 300
    while "kafka.Kafka" in local_process.command_line(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failed_start_shows_the_log(tmp_path: Path) -> None:
    """A broker that ends while starting is reported with the last lines of its log, and nothing keeps running."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=77\n")
    with pytest.raises(BrokerUnreachableError, match=r"(?s)ended with exit code 1.*broker\.log.*node.id") as caught:
        LocalKafka.start(tmp_path, heap_mb=256)
    assert "77" in str(caught.value)


def test_a_refused_property_is_shown(tmp_path: Path) -> None:
    """A property that Kafka does not accept is reported with Kafka's own words before anything starts."""
    with pytest.raises(BrokerUnreachableError, match=r"num\.network\.threads"):
        LocalKafka.start(tmp_path, heap_mb=256, properties={"num.network.threads": "many"})


def test_a_lost_race_for_a_port_is_run_again(tmp_path: Path) -> None:
    """When another process takes a port between the choice and the bind, another port is tried."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        taken = thief.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps({"controller": taken}))
        with LocalKafka.start(tmp_path, heap_mb=256) as broker:
            assert answers(broker)
        assert json.loads((tmp_path / "ports.json").read_text())["controller"] != taken


def test_listeners_of_ones_own_have_the_ports_of_each_attempt(tmp_path: Path) -> None:
    """Where another process has the port that was meant, a broker that names its listeners listens where it says."""
    given = []

    def properties(ports: Ports) -> dict[str, str]:
        given.append(ports)
        own = f"CLIENTS://127.0.0.1:{ports.clients}"
        return {"listeners": f"{own},CONTROLLER://127.0.0.1:{ports.controller}", "advertised.listeners": own}

    with socket.socket() as thief, socket.socket() as another:
        for taker in (thief, another):
            taker.bind(("127.0.0.1", 0))
            taker.listen()
        clients, controller = thief.getsockname()[1], another.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps({"clients": clients, "controller": controller}))
        with LocalKafka.start(tmp_path, heap_mb=256, properties=properties) as broker:
            assert answers(broker)
    assert [ports.controller == controller for ports in given] == [True, False]
    assert all(ports.clients != clients for ports in given)


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    """A port that was asked for and is taken is the caller's to change; nothing is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} on 127.0.0.1 is in use"):
            LocalKafka.start(tmp_path, port=port)


def test_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Java is told what to install, or what to run instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match=r"java is not installed.*default-jdk-headless.*docker compose"):
        LocalKafka.start(tmp_path / "broker")


def test_a_directory_with_odd_letters(tmp_path: Path) -> None:
    """Spaces, backslashes and letters beyond ASCII reach Kafka as they are; stopping twice is no error."""
    with LocalKafka.start(tmp_path / "käfka = 10\\% ✓", heap_mb=256) as broker:
        assert answers(broker)
        assert (broker.directory / "data" / "meta.properties").exists()
        pid = broker.pid
        broker.stop()
        assert not broker.alive
        assert local_process.command_line(pid) == ""


def test_an_interrupt_is_the_parent_s(own: LocalKafka) -> None:
    """Ctrl-C reaches the terminal's foreground group only; the broker leads a session of its own."""
    assert os.getsid(own.pid) == own.pid
    assert os.getpgid(own.pid) != os.getpgid(0)
