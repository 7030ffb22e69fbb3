"""The whole chain as an orchestrator runs it: two of each stage, and whatever ends is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from pipeline.kafka.local.ports import free_port
from pipeline.kafka.local.process import Watchdog
from tests.asking import local_client

STAGES = ("ingest", "transform", "sink")
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
POLL_S = 0.05
LOG_BYTES = 6000


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
    ended: list[str] = field(default_factory=list)
    """How its processes ended that were not killed by the test."""

    @property
    def name(self) -> str:
        """As in `sink-1`."""
        return f"{self.stage}-{self.number}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """The end of what it said."""
        text = self.log.read_bytes()[-LOG_BYTES:] if self.log.exists() else b""
        return f"--- {self.name}, life {self.lives}\n{text.decode('utf-8', 'replace')}"


class Replicas:
    """Processes of the three stages, and a Customer.io sandbox. Leaving the context ends all.

    Args:
        environment: of the processes, but for port and disk.
        directory: for disks and logs.
        site_id: that the sandbox takes.
        api_key: likewise.
        sandbox_port: where the environment says that Customer.io is.
        each: processes of a stage.
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
    ) -> None:
        self._environment = dict(environment)
        self._directory = directory
        credentials = ("--site-id", site_id, "--api-key", api_key)
        self._sandbox_arguments = ("--port", str(sandbox_port), "--keep-events", "10000000", *credentials)
        self.sandbox = self._replica("sandbox", 0, sandbox_port)
        self.workers = [self._replica(stage, number, free_port()) for stage in STAGES for number in range(each)]
        self._supervisor: asyncio.Task[None] | None = None

    def _replica(self, stage: str, number: int, port: int) -> Replica:
        name = f"{stage}-{number}"
        return Replica(stage, number, port, self._directory / f"disk-{name}", self._directory / f"{name}.log")

    def of(self, stage: str) -> list[Replica]:
        """The replicas of one stage."""
        return [one for one in self.workers if one.stage == stage]

    @property
    def ended(self) -> list[str]:
        """Processes that ended by themselves."""
        return [end for one in self.workers for end in one.ended]

    @property
    def said(self) -> str:
        """The end of every log, for a failure's report."""
        return "\n".join(one.text for one in [*self.workers, self.sandbox])

    async def __aenter__(self) -> Self:
        try:
            for one in [self.sandbox, *self.workers]:
                self._start(one)
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

    async def ready(self, replica: Replica) -> None:
        """Wait until its probe says that it is ready."""
        async with local_client(replica.url, timeout=5) as client:
            deadline = time.monotonic() + READY_WITHIN_S
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/ready")).status_code == httpx.codes.OK:
                        return
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
        if replica.watchdog is not None:
            replica.watchdog.close()
        replica.disk.mkdir(exist_ok=True)
        where = {"PIPELINE_PORT": str(replica.port), "PIPELINE_DATA_DIR": str(replica.disk)}
        arguments = self._sandbox_arguments if replica.stage == "sandbox" else ()
        with replica.log.open("ab") as log:
            replica.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", replica.stage, *arguments],
                env={**self._environment, **where},
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
            for one in self.workers:
                code = one.process.poll() if one.process is not None else None
                if code is not None:
                    one.ended.append(f"{one.name}, life {one.lives}: exit code {code}\n{one.text}")
                    self._start(one)
            await asyncio.sleep(POLL_S)

    def _kill_all(self) -> None:
        for one in [*self.workers, self.sandbox]:
            if one.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.process.pid, signal.SIGKILL)
                one.process.wait()
            if one.watchdog is not None:
                one.watchdog.close()
                one.watchdog = None


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

    async def _get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self._http.get(path, params=parameters)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
