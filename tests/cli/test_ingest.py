"""`dodo-cio ingest` as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.dodo.signature import sign
from pipeline.ingest import PATH, server
from pipeline.kafka.local.broker import LocalKafka, free_port
from pipeline.kafka.noise import FloodGate
from pipeline.kafka.records import text_header
from pipeline.settings import Settings
from tests import forked
from tests.asking import local_client

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = samples.load("payment.succeeded")
PATIENCE_S = 300.0
STOP_WITHIN_S = 30.0
"""Kubernetes kills then. A stop takes twelve at most, on a machine that has nothing else to do."""

Environment = Callable[[Settings], dict[str, str]]


def test_a_flood_of_the_client_is_no_flood_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps aiokafka's lines apart stands before the process begins, as in the workers."""
    handlers: list[logging.Handler] = []
    monkeypatch.setattr(server, "run", lambda *_, **__: handlers.extend(logging.getLogger().handlers))
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        assert CliRunner().invoke(build(), ["ingest"]).exit_code == 0
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
    assert [any(isinstance(known, FloodGate) for known in handler.filters) for handler in handlers] == [True]


class Ingest:
    """The command in a process of its own."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = forked.Popen(
                [sys.executable, "-m", "pipeline", "ingest", *arguments], env=environment, stdout=out, stderr=out
            )

    @property
    def text(self) -> str:
        """What it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def address(self, what: str = "Listening on") -> str:
        """Wait for the address that is printed, or stands in a line of JSON."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self.text.splitlines(keepends=True):
                    if not line.endswith("\n"):
                        break  # half of a line has half of an address
                    if found := re.fullmatch(rf"{what} (http://\S+)\n", line):
                        return found[1]
                    if line.startswith("{") and f'"{what}"' in line:
                        return str(orjson.loads(line)["address"])
                assert self.process.poll() is None, self.text
                await asyncio.sleep(0.02)

    async def ends(self) -> int:
        """Wait for the exit code."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path, environment: Environment) -> Iterator[Callable[..., Ingest]]:
    """Starts the command; what still runs at the end is killed."""
    started: list[Ingest] = []

    def begin(settings: Settings, *arguments: str, **variables: str) -> Ingest:
        child = Ingest(environment(settings) | variables, tmp_path / f"ingest{len(started)}.log", *arguments)
        started.append(child)
        return child

    yield begin
    for child in started:
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()


@asynccontextmanager
async def _client() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100)
    async with local_client(limits=limits) as client:
        yield client


async def _post(client: httpx.AsyncClient, address: str, webhook_id: str) -> int:
    """The status; 0 when the connection failed."""
    headers = sign(LIVE, webhook_id, int(time.time()), BODY)
    try:
        return (await client.post(address, content=BODY, headers=headers)).status_code
    except httpx.HTTPError:
        return 0


async def _stored_ids(settings: Settings) -> list[str | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.webhooks_topic, number) for number in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        ids: list[str | None] = []
        async with asyncio.timeout(PATIENCE_S):
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    ids += [text_header(record.headers, "webhook-id") for record in batch]
        return ids
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_it_answers_and_stops(chain_settings: Any, start: Any) -> None:
    """It prints where it listens, answers webhooks and probes, and SIGTERM ends it with 0 and a clean log."""
    child = start(await chain_settings(dodo_webhook_secrets=LIVE), "--port", "0")
    address = await child.address()
    assert address.endswith(PATH)
    async with _client() as client:
        assert await _post(client, address, "msg_1") == 200
        base = address.removesuffix(PATH)
        for probe in ("/live", "/ready", "/status", "/metrics"):
            assert (await client.get(f"{base}{probe}")).status_code == 200
    child.process.send_signal(signal.SIGTERM)
    assert await child.ends() == 0
    assert "Traceback" not in child.text
    assert "ERROR" not in child.text.upper().replace("ERRORS", "")


@pytest.mark.kafka
async def test_nobody_is_refused_while_it_drains(chain_settings: Any, start: Any) -> None:
    """After SIGTERM a balancer reads that it is not ready, and what it sends until then is stored, each time anew."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, drain_seconds=600)
    child = start(settings)
    address = await child.address()
    ready = f"{address.removesuffix(PATH)}/ready"
    async with _client() as client:
        assert (await client.get(ready)).status_code == 200
        child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            while (await client.get(ready)).status_code == 200:  # noqa: ASYNC110 - asked over the network
                await asyncio.sleep(0.02)
    for number in range(20):  # each on a connection of its own, as a balancer opens them
        async with _client() as client:
            assert await _post(client, address, f"msg_{number}") == 200
    child.process.send_signal(signal.SIGTERM)  # who does not want to wait sends another one
    assert await child.ends() == 0
    ids = await _stored_ids(settings)
    assert (len(ids), set(ids)) == (20, {f"msg_{number}" for number in range(20)})


@pytest.mark.kafka
async def test_the_log_holds_nothing_private(chain_settings: Any, start: Any) -> None:
    """Neither addresses, nor secrets, nor bodies are written, for accepted, forged and unreadable requests."""
    child = start(await chain_settings(dodo_webhook_secrets=LIVE), PIPELINE_LOG_FORMAT="json")
    address = await child.address()
    async with _client() as client:
        await _post(client, address, "msg_1")
        unreadable = b'{"email": "jiwoo.han@example.com"'
        await client.post(address, content=unreadable, headers=sign(LIVE, "m", int(time.time()), unreadable))
        await client.post(address, content=BODY, headers={"webhook-id": "jiwoo.han@example.com"})
    child.process.send_signal(signal.SIGINT)
    assert await child.ends() == 0
    assert "dead-lettered" in child.text
    assert "forged" in child.text
    for private in ("jiwoo", "example.com", LIVE, LIVE.removeprefix("whsec_"), "4242"):
        assert private not in child.text


@pytest.mark.kafka
@pytest.mark.chaos
async def test_sigterm_under_load_loses_nothing(chain_settings: Any, start: Any) -> None:
    """Every webhook that was answered 200 before, during and after SIGTERM is in the topic, and it exits 0 in time."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    child = start(settings)
    address = await child.address()
    statuses: dict[str, int] = {}
    enough = asyncio.Event()

    async def keep_posting(client: httpx.AsyncClient, lane: int) -> None:
        number = 0
        while True:
            webhook_id = f"msg_{lane}_{number}"
            statuses[webhook_id] = await _post(client, address, webhook_id)
            if statuses[webhook_id] == 0:
                return
            if len(statuses) > 200:
                enough.set()
            number += 1

    async with _client() as client, asyncio.TaskGroup() as lanes:
        for lane in range(16):
            lanes.create_task(keep_posting(client, lane))
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
        child.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await child.ends() == 0
        assert time.monotonic() - began < STOP_WITHIN_S
    accepted = {webhook_id for webhook_id, status in statuses.items() if status == 200}
    assert len(accepted) > 150
    assert set(statuses.values()) <= {0, 200}
    ids = await _stored_ids(settings)
    assert accepted <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.kafka
@pytest.mark.chaos
async def test_requests_in_flight_at_sigterm_get_their_answer(
    own_kafka: LocalKafka, chain_settings: Any, start: Any
) -> None:
    """Requests that wait for Kafka at SIGTERM are answered 200 when it confirms; new connections are refused."""
    settings = await chain_settings(kafka_bootstrap_servers=own_kafka.bootstrap_servers, dodo_webhook_secrets=LIVE)
    child = start(settings)
    address = await child.address()
    async with _client() as client:
        assert await _post(client, address, "msg_first") == 200
        own_kafka.pause()
        try:
            in_flight = [asyncio.create_task(_post(client, address, f"msg_{number}")) for number in range(10)]
            await _in_flight(client, address, 10)
            child.process.send_signal(signal.SIGTERM)
            await _refused(address)
        finally:
            own_kafka.resume()
        assert await asyncio.gather(*in_flight) == [200] * 10
    assert await child.ends() == 0
    assert {f"msg_{number}" for number in range(10)} <= set(await _stored_ids(settings))


@pytest.mark.kafka
@pytest.mark.chaos
async def test_sigterm_without_kafka_ends_in_time(own_kafka: LocalKafka, chain_settings: Any, start: Any) -> None:
    """When Kafka never answers, those who wait get 503, not silence, and the process exits 0 within twelve seconds."""
    settings = await chain_settings(kafka_bootstrap_servers=own_kafka.bootstrap_servers, dodo_webhook_secrets=LIVE)
    child = start(settings)
    address = await child.address()
    try:
        async with _client() as client:
            assert await _post(client, address, "msg_first") == 200
            own_kafka.pause()
            in_flight = [asyncio.create_task(_post(client, address, f"msg_{number}")) for number in range(10)]
            await _in_flight(client, address, 10)
            child.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert await asyncio.gather(*in_flight) == [503] * 10
            assert await child.ends() == 0
            assert time.monotonic() - began < STOP_WITHIN_S
    finally:
        own_kafka.resume()
    assert "Traceback" not in child.text


async def _in_flight(client: httpx.AsyncClient, address: str, count: int) -> None:
    """Wait until so many requests were read and given to the producer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = (await client.get(f"{address.removesuffix(PATH)}/status")).json()
            if status["in_flight"] == count:
                return
            await asyncio.sleep(0.02)


async def _refused(address: str) -> None:
    """Wait until nobody listens there any more."""
    port = int(address.removesuffix(PATH).rsplit(":", 1)[1])
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await asyncio.sleep(0.02)


@pytest.mark.kafka
async def test_sigterm_during_the_start_ends_it(own_kafka: LocalKafka, chain_settings: Any, start: Any) -> None:
    """While it still waits for a broker, SIGTERM is obeyed."""
    settings = await chain_settings(kafka_bootstrap_servers=own_kafka.bootstrap_servers, dodo_webhook_secrets=LIVE)
    own_kafka.pause()
    try:
        port = free_port()
        child = start(settings, "--port", str(port))
        async with asyncio.timeout(PATIENCE_S):
            while not _accepts(port):
                assert child.process.poll() is None, child.text
                await asyncio.sleep(0.02)
        child.process.send_signal(signal.SIGTERM)
        assert await child.ends() == 0
    finally:
        own_kafka.resume()
    assert "Traceback" not in child.text


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.kafka
async def test_a_port_in_use_is_2(chain_settings: Any, start: Any) -> None:
    """The message names the port and the setting."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start(settings, "--port", str(port))
        assert await child.ends() == 2
    assert f"127.0.0.1:{port}" in child.text
    assert "PIPELINE_PORT" in child.text
    assert "Traceback" not in child.text


@pytest.mark.kafka
async def test_nothing_but_webhooks_is_public(chain_settings: Any, start: Any) -> None:
    """With a port for probes and metrics the other one takes webhooks and answers 404 to all else; while it drains, the
    probes go on answering, and both end together."""  # noqa: D205, D209 - one promise
    settings = await chain_settings(dodo_webhook_secrets=LIVE, port=0, drain_seconds=600)
    child = start(settings, "--admin-port", "0")
    webhooks = await child.address()
    public = webhooks.removesuffix(PATH)
    admin = await child.address("Probes and metrics on")
    async with _client() as client:
        assert await _post(client, webhooks, "msg_1") == 200
        for path in ("/live", "/ready", "/status", "/metrics", "/openapi.json"):
            assert (await client.get(public + path)).status_code == 404, path
            assert (await client.get(admin + path)).status_code == 200, path
        for path in ("/", "/page.json", "/stage.json"):
            assert (await client.get(public + path)).status_code == 404, path
            assert (await client.get(admin + path)).status_code == 200, path
        assert (await client.post(admin + PATH, content=BODY)).status_code == 404
        assert 'outcome="accepted",status="200"} 1.0' in (await client.get(f"{admin}/metrics")).text
        child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            while (await client.get(f"{admin}/ready")).status_code != 503:  # noqa: ASYNC110 - a probe is a question
                await asyncio.sleep(0.02)
        assert (await client.get(f"{admin}/live")).status_code == 200
        assert await _post(client, webhooks, "msg_2") == 200
        child.process.send_signal(signal.SIGTERM)
        assert await child.ends() == 0
    assert not _accepts(int(admin.rsplit(":", 1)[1]))
    assert await _stored_ids(settings) == ["msg_1", "msg_2"]


@pytest.mark.kafka
async def test_a_port_for_probes_that_is_in_use_is_2(chain_settings: Any, start: Any) -> None:
    """The message names its setting."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, port=0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        child = start(settings, "--admin-port", str(taken.getsockname()[1]))
        assert await child.ends() == 2
    assert "PIPELINE_ADMIN_PORT" in child.text
    assert "Traceback" not in child.text


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        (
            {"PIPELINE_ADMIN_PORT": "8080", "PIPELINE_PORT": "8080"},
            2,
            "PIPELINE_ADMIN_PORT: 8080 is the port for webhooks",
        ),
        ({}, 2, "PIPELINE_DODO_WEBHOOK_SECRETS is not set"),
        ({"PIPELINE_DODO_WEBHOOK_SECRETS": f"v1,{LIVE}"}, 2, "begins with v1,"),
        ({"PIPELINE_DODO_WEBHOOK_SECRETS": LIVE, "PIPELINE_DODO_TEST_WEBHOOK_SECRETS": LIVE}, 2, "the same secret"),
        ({"PIPELINE_DODO_WEBHOOK_SECRETS": LIVE, "PIPELINE_HOST": "192.0.2.1"}, 2, "PIPELINE_HOST"),
        ({"PIPELINE_DODO_WEBHOOK_SECRETS": LIVE}, 1, "PIPELINE_KAFKA_BOOTSTRAP_SERVERS"),
        ({"PIPELINE_PORT": "99999"}, 2, "PIPELINE_PORT"),
    ],
)
async def test_what_an_operator_must_change_is_said(
    variables: dict[str, str], code: int, message: str, start: Any
) -> None:
    """A wrong setting ends the start with its name, never with a traceback, and secrets are not repeated."""
    base = Settings.load(kafka_bootstrap_servers="127.0.0.1:1", host="127.0.0.1", port=0)
    child = start(base, **variables)
    assert await child.ends() == code
    assert message in child.text
    assert "Traceback" not in child.text
    assert LIVE.removeprefix("whsec_") not in child.text


def test_help_shows_examples() -> None:
    """`--help` answers without settings."""
    shown = CliRunner().invoke(build(), ["ingest", "--help"])
    assert shown.exit_code == 0
    assert "dodo-cio ingest" in shown.output
    assert "--port" in shown.output
