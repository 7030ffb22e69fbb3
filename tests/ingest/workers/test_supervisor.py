"""Several workers on one port, as processes on real Kafka: one ingest to whoever sends, probes or stops it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.demo.processes import Child, Fleet
from pipeline.dodo import samples
from pipeline.errors import ConfigurationError
from pipeline.http.bind import reserve
from pipeline.ingest import PATH
from pipeline.kafka.local.broker import free_port
from pipeline.kafka.records import text_header
from pipeline.settings import PREFIX, Settings
from tests.asking import local_client

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = samples.load("payment.succeeded")
WORKERS = 2
PATIENCE_S = 300.0
CONNECTIONS = 40
"""The kernel deals them out by chance: that one of two workers gets none of them is a chance of 2^-39."""


def alive(pid: int) -> bool:
    """Whether a process runs."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def connections(pid: int, port: int) -> int:
    """How many connections to a port of this machine a process has."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {fields[9] for fields in lines if fields[1].endswith(f":{port:04X}") and fields[3] == "01"}
    opened = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            opened.add(str(one.readlink()))
    return len({f"socket:[{inode}]" for inode in ours} & opened)


@dataclass
class Service:
    """A supervisor with its workers."""

    child: Child
    settings: Settings
    signed: Callable[..., dict[str, str]]

    def said(self) -> str:
        """Its log and output."""
        return self.child.log.read_text(encoding="utf-8")

    async def get(self, path: str, each_s: float = 30.0) -> httpx.Response:
        """Ask on a connection of its own, until somebody answers, each time for so long."""
        async with asyncio.timeout(PATIENCE_S), local_client(timeout=each_s) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    return await client.get(f"{self.child.url}{path}")
                await asyncio.sleep(0.05)

    async def all_serve(self) -> list[int]:
        """Wait until each worker serves; their processes."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = (await self.get("/status")).json()
                if len(told["workers"]) == WORKERS and all(one["ready"] for one in told["workers"]):
                    return [one["pid"] for one in told["workers"]]  # a worker that was killed is not ready
                await asyncio.sleep(0.05)

    async def post(self, prefix: str, times: int) -> list[str]:
        """Webhooks over many connections, again as Dodo would until each is accepted; their ids."""
        ids = [f"{prefix}_{number}" for number in range(times)]
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0)

        async def send(client: httpx.AsyncClient, webhook_id: str) -> None:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    headers = self.signed(BODY, webhook_id=webhook_id)
                    answer = await client.post(f"{self.child.url}{PATH}", content=BODY, headers=headers)
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(0.05)

        async with asyncio.timeout(PATIENCE_S), local_client(timeout=30, limits=limits) as client:
            await asyncio.gather(*(send(client, webhook_id) for webhook_id in ids))
        return ids

    async def counted(self) -> float:
        """Webhooks that all workers together have accepted."""
        text = (await self.get("/metrics")).text
        series = r'^dodo_cio_ingest_requests_total\{outcome="accepted",status="200"\} (\S+)$'
        found = re.search(series, text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def counts(self, accepted: int) -> None:
        """Wait until they have counted so many: what a worker counted is told once it answers, which is not at once."""
        async with asyncio.timeout(PATIENCE_S):
            while (counted := await self.counted()) != accepted:
                assert counted < accepted
                await asyncio.sleep(0.05)

    async def says(self, path: str, text: str) -> httpx.Response:
        """The first answer with this text: a worker that is slow for a moment is one that does not answer."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in (answer := await self.get(path)).text:  # noqa: ASYNC110 - a probe is a question
                await asyncio.sleep(0.05)
        return answer

    async def ended(self) -> int:
        """Wait for the supervisor's end; its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(self.child.process.wait)


@pytest.fixture
async def service(tmp_path: Path, chain_settings: Any, environment: Any, signed: Any) -> AsyncIterator[Service]:
    """Two workers that serve."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, ingest_workers=WORKERS, log_format="json")
    port = free_port()
    with Fleet(tmp_path / "logs") as fleet:
        child = fleet.start(
            "ingest", "ingest", environment={**environment(settings), f"{PREFIX}PORT": str(port)}, port=port
        )
        await fleet.ready(child)
        started = Service(child, settings, signed)
        await started.all_serve()
        yield started


@pytest.mark.kafka
async def test_they_are_one_ingest(service: Service, read_topic: Any) -> None:
    """Webhooks of many connections are taken by both and counted together, whoever answers; each is stored once."""
    ready = await service.says("/ready", "2 of 2 workers serve; Kafka answers")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    ids = await service.post("msg", 300)
    await service.counts(len(ids))
    assert [await service.counted() for _ in range(6)] == [len(ids)] * 6
    text = (await service.says("/metrics", "\ndodo_cio_ready 1.0\n")).text
    assert "\ndodo_cio_ingest_workers 2.0\n" in text
    assert "\ndodo_cio_http_connections_limit 1000.0\n" in text
    stored = await read_topic(service.settings, service.settings.webhooks_topic)
    assert sorted(ids) == sorted(text_header(record.headers, "webhook-id") or "" for record in stored)
    assert service.said().count("Listening on") == 1


@pytest.mark.kafka
async def test_connections_are_dealt_out(service: Service) -> None:
    """Each worker takes some of them."""
    port = int(service.child.url.rpartition(":")[2])
    workers = await service.all_serve()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 ")  # whatever it says: a worker has it
        dealt = [connections(pid, port) for pid in workers]
    assert sum(dealt) >= CONNECTIONS
    assert min(dealt) > 0


@pytest.mark.kafka
@pytest.mark.chaos
async def test_a_worker_that_dies_is_replaced(service: Service, read_topic: Any) -> None:
    """It costs no accepted webhook and no count; a log line and a metric tell of it, and another one serves soon."""
    before = await service.post("before", 100)
    await service.counts(len(before))
    killed, *others = await service.all_serve()
    meanwhile = asyncio.create_task(service.post("meanwhile", 200))
    os.kill(killed, signal.SIGKILL)
    accepted = [*before, *await meanwhile]
    assert set(others) < set(await service.all_serve()) - {killed}
    assert await service.counted() >= len(before)
    assert "\ndodo_cio_ingest_workers_replaced_total 1.0\n" in (await service.get("/metrics")).text
    assert "a worker ended, another one takes its place" in service.said()
    stored = {
        text_header(r.headers, "webhook-id")
        for r in await read_topic(service.settings, service.settings.webhooks_topic)
    }
    assert set(accepted) <= stored


@pytest.mark.kafka
@pytest.mark.chaos
async def test_a_worker_that_hangs_is_no_life(service: Service) -> None:
    """One that answers nothing makes the whole not live, and not ready, whoever is asked, in series as in probes."""
    frozen, *_ = await service.all_serve()
    os.kill(frozen, signal.SIGSTOP)
    try:
        async with asyncio.timeout(PATIENCE_S), local_client(timeout=10) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):  # those that came to the frozen one
                    answer = await client.get(f"{service.child.url}/live", headers={"connection": "close"})
                    break
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["reason"]
        text = (await service.get("/metrics", each_s=10.0)).text  # every second time the frozen one is asked
        assert re.findall(r"^dodo_cio_(?:live|ready) (\S+)$", text, re.MULTILINE) == ["0.0", "0.0"]
    finally:
        os.kill(frozen, signal.SIGCONT)
    await service.all_serve()


@pytest.mark.kafka
@pytest.mark.chaos
async def test_sigterm_ends_all_in_order(service: Service, read_topic: Any) -> None:
    """Under load: every webhook that was answered 200 is stored, no process is left, and the exit code is 0."""
    workers = await service.all_serve()
    sent = await service.post("before", 50)
    accepted: list[str] = []

    async def send(lane: int) -> None:
        async with local_client(timeout=30) as client:
            for number in range(10_000):
                webhook_id = f"lane{lane}_{number}"
                headers = service.signed(BODY, webhook_id=webhook_id)
                try:
                    answer = await client.post(f"{service.child.url}{PATH}", content=BODY, headers=headers)
                except httpx.HTTPError:
                    return
                assert answer.status_code in {200, 503}
                if answer.status_code == 200:
                    accepted.append(webhook_id)

    lanes = [asyncio.create_task(send(lane)) for lane in range(8)]
    while len(accepted) < 50:  # noqa: ASYNC110 - a list
        await asyncio.sleep(0.01)
    service.child.process.terminate()
    assert await service.ended() == 0
    await asyncio.gather(*lanes)
    assert [pid for pid in workers if alive(pid)] == []
    stored = {
        text_header(r.headers, "webhook-id")
        for r in await read_topic(service.settings, service.settings.webhooks_topic)
    }
    assert {*sent, *accepted} <= stored
    assert "Traceback" not in service.said()


@pytest.mark.kafka
@pytest.mark.chaos
async def test_workers_do_not_outlive_their_supervisor(service: Service) -> None:
    """However it ends, they drain and end by themselves, and the port is free again."""
    workers = await service.all_serve()
    service.child.process.kill()
    await service.ended()
    async with asyncio.timeout(PATIENCE_S):
        while any(alive(pid) for pid in workers):  # noqa: ASYNC110 - processes of others
            await asyncio.sleep(0.05)
    reserve("127.0.0.1", int(service.child.url.rpartition(":")[2])).close()


@pytest.mark.kafka
async def test_what_hinders_the_start_is_said_once(chain_settings: Any, environment: Any) -> None:
    """A missing topic is one message, and the exit code of a setting that is wrong; no worker is left behind."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, ingest_workers=3)
    variables = {**environment(settings), f"{PREFIX}WEBHOOKS_TOPIC": "not-there", f"{PREFIX}PORT": "0"}
    argv = (sys.executable, "-m", "pipeline", "ingest")
    done = await asyncio.to_thread(
        subprocess.run, argv, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("dodo-cio topics apply") == 1
    assert "Listening" not in done.stdout


@pytest.mark.kafka
@pytest.mark.chaos
async def test_they_drain_together(tmp_path: Path, chain_settings: Any, environment: Any, signed: Any) -> None:
    """After SIGTERM, also to each worker: `/ready` says no, webhooks are taken, none is refused."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, ingest_workers=WORKERS, drain_seconds=600)
    port = free_port()
    variables = {**environment(settings), f"{PREFIX}PORT": str(port)}
    with Fleet(tmp_path / "logs") as fleet:
        child = fleet.start("ingest", "ingest", environment=variables, port=port)
        await fleet.ready(child)
        service = Service(child, settings, signed)
        for pid in (child.process.pid, *await service.all_serve()):
            os.kill(pid, signal.SIGTERM)
        assert (await service.says("/ready", "stopping")).status_code == 503
        for number in range(CONNECTIONS):
            async with local_client(timeout=30) as client:
                headers = signed(BODY, webhook_id=f"msg_{number}")
                answer = await client.post(f"{child.url}{PATH}", content=BODY, headers=headers)
            assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        child.process.terminate()  # the second one ends the draining
        assert await service.ended() == 0


@pytest.mark.kafka
async def test_probes_on_a_port_of_their_own(
    tmp_path: Path, chain_settings: Any, environment: Any, signed: Any
) -> None:
    """The admin port is shared like the public one, tells of all workers, and is not asked for at the public one."""
    settings = await chain_settings(dodo_webhook_secrets=LIVE, ingest_workers=WORKERS)
    port, admin_port = free_port(), free_port()
    variables = {**environment(settings), f"{PREFIX}PORT": str(port), f"{PREFIX}ADMIN_PORT": str(admin_port)}
    with Fleet(tmp_path / "logs") as fleet:
        child = fleet.start("ingest", "ingest", environment=variables, port=admin_port)
        await fleet.ready(child)
        service = Service(child, settings, signed)
        await service.all_serve()
        async with local_client(timeout=30) as client:
            headers = signed(BODY)
            answer = await client.post(f"http://127.0.0.1:{port}{PATH}", content=BODY, headers=headers)
            assert answer.status_code == 200
            assert (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 404
        await service.counts(1)
        await _is_shown(service)
        assert f"Probes and metrics on http://127.0.0.1:{admin_port}" in service.said()


async def _is_shown(service: Service) -> None:
    """The status page is one for all workers, whichever answers: with what each took, and its last events."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            drawn = (await service.get("/page.json")).json()
            answered = "workers serve" in drawn["processes"][0]["ready_reason"]
            if answered and drawn["flow"]["ingest"]["done"] == 1:
                break
            await asyncio.sleep(0.1)
    assert [event["outcome"] for event in drawn["events"]] == ["accepted"]
    one = await service.get("/stage.json")
    assert (one.json()["stage"], one.json()["process"]) == ("ingest", drawn["processes"][0]["id"])
    assert (await service.get("/")).headers["content-type"].startswith("text/html")


def test_a_worker_without_a_supervisor() -> None:
    """The option that supervisors use is refused to a person, in one line."""
    argv = (sys.executable, "-m", "pipeline", "ingest", "--worker", "1")
    environment = {**os.environ, f"{PREFIX}DODO_WEBHOOK_SECRETS": LIVE}
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert "--workers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_of_somebody_else() -> None:
    """It is refused with the setting's name, even when its listener would share it."""
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as other,
        pytest.raises(ConfigurationError, match="PIPELINE_PORT"),
    ):
        reserve("127.0.0.1", other.getsockname()[1])


def test_a_system_that_cannot_share_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is started, with what to do instead."""
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ConfigurationError, match=r"PIPELINE_INGEST_WORKERS.*balancer"):
        reserve("127.0.0.1", 0)


async def test_a_reserved_port_takes_no_connections() -> None:
    """What holds the address for the workers is no listener: a connection would wait in it for ever."""
    with reserve("127.0.0.1", 0) as holder:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*holder.getsockname())
        with socket.create_server(holder.getsockname(), reuse_port=True) as worker:
            _, writer = await asyncio.open_connection(*worker.getsockname())
            writer.close()
