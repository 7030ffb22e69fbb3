"""A stage in a process of its own: started, awaited by what it logs and answers, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.asking import local_client
from tests.forked import Popen

PATIENCE_S: Final = 300.0
"""A bound against hanging, on a machine that does ten other things."""

POLL_S: Final = 0.05


class WorkerProcess:
    """One stage; its log lines are JSON, and all that it prints is in `log`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._port = 0
        with log.open("wb") as stream:
            self.process = Popen[bytes](command, env=dict(environ), stdout=stream, stderr=stream, cwd=log.parent)

    @property
    def text(self) -> str:
        """Everything that it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def place(self) -> int:
        """The end of what it said so far: a wait for what it says next begins here."""
        return len(self.text)

    def alive(self) -> None:
        """Fail with what it said when it has ended."""
        assert self.process.poll() is None, self.text

    def lines(self) -> list[dict[str, Any]]:
        """What it logged so far; fails when it has ended."""
        self.alive()
        return [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, or fail with the end of the log when the process ends first."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                ended = self.process.poll() is not None  # before the look: its last words count
                if condition():
                    return
                assert not ended, self.text[-6000:]
                await asyncio.sleep(POLL_S)

    async def says(self, *parts: str, times: int = 1, since: int = 0) -> str:
        """Wait until `times` lines behind the place `since` have all of it; the last of them.

        What an earlier generation said, before `since`, is no answer.
        """
        found: list[str] = []

        def said() -> bool:
            lines = [line for line in self.text[since:].splitlines(keepends=True) if line.endswith("\n")]
            found[:] = [line for line in lines if all(part in line for part in parts)][:times]
            return len(found) == times

        await self.until(said)
        return found[-1]

    async def port(self) -> int:
        """The health port, once it listens."""
        self._port = self._port or int(json.loads(await self.says('"health listening"', '"port"'))["port"])
        return self._port

    async def get(self, path: str) -> httpx.Response:
        """An answer of the health port."""
        async with local_client() as client:
            return await client.get(f"http://127.0.0.1:{await self.port()}{path}")

    async def samples(self, name: str) -> list[Sample]:
        """A series with all its labels. The other 500 lines are not parsed: some ask twenty times a second."""
        lines = (await self.get("/metrics")).text.splitlines(keepends=True)
        own = "".join(line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return [sample for family in text_string_to_metric_families(own) for sample in family.samples]

    async def answers(self, path: str, text: str) -> httpx.Response:
        """The first answer of the health port that contains `text`."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in (answer := await self.get(path)).text:
                assert self.process.poll() is None, self.text[-6000:]
                await asyncio.sleep(POLL_S)
        return answer

    async def ready(self) -> Self:
        """Return once records can flow."""
        await self.answers("/ready", '"ready":true')
        return self

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code, once the process has ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(self.process.wait)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send SIGTERM or another signal; the exit code."""
        self.send(number)
        return await self.ended()

    def kill(self) -> None:
        """Leave no process behind, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
