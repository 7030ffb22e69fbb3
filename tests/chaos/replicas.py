"""The whole chain as an orchestrator runs it: two of each stage, and whatever ends is started again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from pipeline.kafka.local.ports import free_port
from pipeline.kafka.local.process import Watchdog
from pipeline.settings import Settings
from tests import forked
from tests.asking import local_client
from tests.chaos.season.record import Ended
from tests.kafka.three_brokers import Cluster

STAGES = ("ingest", "transform", "sink")
READY_WITHIN_S = 120.0
RESTORING = "restoring the customers' state"
STOP_WITHIN_S = 60.0
POLL_S = 0.05
LOG_BYTES = 6000


async def replicas_on(
    cluster: Cluster,
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    directory: Path,
    partitions: int,
) -> tuple[Settings, Replicas]:
    """Two of each stage on `cluster`, not started yet, on topics and with secrets of their own, and their settings."""
    key, port = secrets.token_hex(16), free_port()
    settings = await chain_settings(
        partitions=partitions,
        kafka_bootstrap_servers=cluster.bootstrap_servers,
        dodo_webhook_secrets="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        customerio_site_id="site",
        customerio_api_key=key,
        customerio_url=f"http://127.0.0.1:{port}",
        log_format="json",
    )
    await cluster.wait_until_in_sync()
    return settings, Replicas(environment(settings), directory, site_id="site", api_key=key, sandbox_port=port)


@dataclass
class Replica:
    """One place for a process: its successors have the same port, and the same disk unless it was lost."""

    stage: str
    number: int
    port: int
    disk: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    watchdog: Watchdog | None = None
    lives: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    """Of this place alone."""

    supervised: bool = True
    """Whether a process that ends is started again: not while the test ends it itself."""

    ended: list[Ended] = field(default_factory=list)
    """How its processes ended that were not ended by the test."""

    @property
    def name(self) -> str:
        """As in `sink-1`."""
        return f"{self.stage}-{self.number}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process, which may have ended."""
        assert self.process is not None
        return self.process.pid

    @property
    def text(self) -> str:
        """The end of what it said."""
        text = self.log.read_bytes()[-LOG_BYTES:] if self.log.exists() else b""
        return f"--- {self.name}, life {self.lives}\n{text.decode('utf-8', 'replace')}"

    def call_off(self) -> None:
        """Its process has ended; another one may get the number, and must not be killed for it when the test ends."""
        if self.watchdog is not None:
            self.watchdog.close()
            self.watchdog = None


class Replicas:
    """Processes of the three stages, and a Customer.io sandbox. Leaving the context ends all.

    Args:
        environment: of the processes, but for port and disk.
        directory: for disks and logs.
        site_id: that the sandbox takes.
        api_key: likewise.
        sandbox_port: where the environment says that Customer.io is.
        each: processes of a stage.
        sandbox: command that stands in for Customer.io; none: the sandbox.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        directory: Path,
        *,
        site_id: str,
        api_key: str,
        sandbox_port: int,
        each: int = 2,
        sandbox: Sequence[str] = (),
    ) -> None:
        self.environment = dict(environment)
        self._directory = directory
        credentials = ("--site-id", site_id, "--api-key", api_key)
        arguments = ("--port", str(sandbox_port), "--keep-events", "10000000", *credentials)
        self._sandbox_command = sandbox or (sys.executable, "-m", "pipeline", "sandbox", *arguments)
        self.sandbox = self._replica("sandbox", 0, sandbox_port)
        self.workers = [self._replica(stage, number, free_port()) for stage in STAGES for number in range(each)]
        self._supervisor: asyncio.Task[None] | None = None
        self._gone: list[Ended] = []

    def _replica(self, stage: str, number: int, port: int) -> Replica:
        name = f"{stage}-{number}"
        return Replica(stage, number, port, self._directory / f"disk-{name}", self._directory / f"{name}.log")

    def of(self, stage: str) -> list[Replica]:
        """The replicas of one stage."""
        return [one for one in self.workers if one.stage == stage]

    @property
    def ended(self) -> list[Ended]:
        """Processes that ended by themselves, of places that are gone too."""
        return sorted([*self._gone, *(end for one in self.workers for end in one.ended)])

    @property
    def said(self) -> str:
        """The end of every log, for a failure's report."""
        return "\n".join(one.text for one in [*self.workers, self.sandbox])

    async def __aenter__(self) -> Self:
        try:
            # The first start of a command waits for imports. This loop carries the processes' connections (`Wire`):
            # one that stood still for as long as a start may wait for its brokers would end the first process.
            for one in [self.sandbox, *self.workers]:
                await asyncio.to_thread(self._start, one)
            await asyncio.gather(*(self.ready(one) for one in self.workers))
        except BaseException:
            self._kill_all()
            raise
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})
        self._kill_all()

    def kill(self, replica: Replica, *, disk: bool = False) -> None:
        """SIGKILL; with `disk` its files are gone too. A successor is started before anything else happens."""
        assert replica.process is not None
        replica.process.send_signal(signal.SIGKILL)
        replica.process.wait()
        if disk:
            replica.disk = replica.disk.with_name(f"disk-{replica.name}-{replica.lives}")
        self._start(replica)

    async def terminate(self, replica: Replica) -> int:
        """SIGTERM; the exit code. No successor is started until `start`."""
        assert replica.process is not None
        replica.supervised = False
        replica.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_WITHIN_S):
            while (code := replica.process.poll()) is None:  # noqa: ASYNC110 - a process tells its end to nobody
                await asyncio.sleep(POLL_S / 5)
        return code

    def start(self, replica: Replica) -> None:
        """Start a process in a place that has none."""
        self._start(replica)
        replica.supervised = True

    async def restart(self, replica: Replica) -> int:
        """SIGTERM, and a successor once it has ended; the exit code."""
        code = await self.terminate(replica)
        self.start(replica)
        return code

    def add(self, stage: str, environment: Mapping[str, str] | None = None) -> Replica:
        """One more place of a stage, under the smallest number that is free, and its process."""
        taken = {one.number for one in self.of(stage)}
        number = next(number for number in range(len(taken) + 1) if number not in taken)
        replica = self._replica(stage, number, free_port())
        replica.environment.update(environment or {})
        self._start(replica)
        self.workers.append(replica)
        return replica

    async def remove(self, replica: Replica) -> int:
        """SIGTERM, and the place is gone; the exit code."""
        code = await self.terminate(replica)
        replica.call_off()
        self.workers.remove(replica)
        self._gone += replica.ended
        return code

    async def ready(self, replica: Replica) -> None:
        """Wait until its probe says that it is ready, for as long as what it says goes on.

        On a slow disk a restore of a million facts takes minutes; the probe has how much of it is done.
        """
        async with local_client(replica.url, timeout=5) as client:
            deadline, said = time.monotonic() + READY_WITHIN_S, ""
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get("/ready")
                    if answer.status_code == httpx.codes.OK:
                        return
                    if RESTORING in answer.text and answer.text != said:
                        deadline, said = time.monotonic() + READY_WITHIN_S, answer.text
                assert time.monotonic() < deadline, f"{replica.name} is not ready\n{replica.text}"
                await asyncio.sleep(POLL_S)

    async def stop(self) -> dict[str, int]:
        """SIGTERM to every worker at once; the exit codes."""
        assert self._supervisor is not None
        self._supervisor.cancel()
        await asyncio.wait({self._supervisor})
        for one in self.workers:
            assert one.process is not None
            one.process.send_signal(signal.SIGTERM)
        codes = {}
        for one in self.workers:
            assert one.process is not None
            codes[one.name] = await asyncio.to_thread(one.process.wait, STOP_WITHIN_S)
        return codes

    def _start(self, replica: Replica) -> None:
        replica.call_off()
        replica.disk.mkdir(exist_ok=True)
        where = {"PIPELINE_PORT": str(replica.port), "PIPELINE_DATA_DIR": str(replica.disk)}
        worker = (sys.executable, "-m", "pipeline", replica.stage)
        with replica.log.open("ab") as log:
            replica.process = forked.Popen[bytes](
                self._sandbox_command if replica.stage == "sandbox" else worker,
                env={**self.environment, **replica.environment, **where},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        replica.watchdog = Watchdog(replica.process.pid)
        replica.lives += 1

    async def _supervise(self) -> None:
        """Start again what ended by itself, and remember it."""
        while True:
            for one in list(self.workers):
                code = one.process.poll() if one.process is not None else None
                if code is not None and one.supervised:
                    one.ended.append(Ended(time.time(), one.name, code, one.text))
                    self._start(one)
            await asyncio.sleep(POLL_S)

    def _kill_all(self) -> None:
        for one in [*self.workers, self.sandbox]:
            if one.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.process.pid, signal.SIGKILL)
                one.process.wait()
            one.call_off()


class SandboxView:
    """What the sandbox shows of itself."""

    def __init__(self, url: str) -> None:
        self._http = local_client(f"{url}/__sandbox")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def stats(self) -> dict[str, Any]:
        """Counts."""
        return await self._get("/stats")

    async def all(self, what: str) -> list[dict[str, Any]]:
        """Every one of `events` or `people`, page by page."""
        found: list[dict[str, Any]] = []
        after: dict[str, Any] = {}
        while True:
            page = await self._get(f"/{what}", limit=5000, **after)
            found += page[what]
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    async def script(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Replace the fault script by these steps."""
        answer = await self._http.post("/faults", params={"replace": "true"}, json=list(steps))
        answer.raise_for_status()

    async def steps(self) -> list[dict[str, Any]]:
        """The script, with how often each step was taken."""
        steps: list[dict[str, Any]] = (await self._get("/faults"))["steps"]
        return steps

    async def _get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self._http.get(path, params=parameters)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
