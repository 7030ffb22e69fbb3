"""Child processes that never outlive the demo.

Each stage runs exactly as an operator would start it, in a session of its own, so that Ctrl-C reaches only the
demo, which then stops the stages. If the demo itself is killed, a watchdog ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import DeliveryError
from pipeline.kafka.local.process import Watchdog
from pipeline.plain_httpx import httpx

STOP_GRACE_S = 15
"""A stage promises to stop within 12 s whatever the API does; after this it is killed."""

READY_WITHIN_S = 180
"""Python's imports, a group join and the start-up checks, on a busy two-core machine."""


@dataclass(frozen=True, slots=True)
class Child:
    """One started stage."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    log: Path
    watchdog: Watchdog

    def tail(self, lines: int = 12) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class Fleet:
    """The processes of one run; leaving the context stops them all, first started last."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str], port: int) -> Child:
        """Run `dodo-cio <arguments>`; its output goes to a log file of its own."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "pipeline", *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, f"http://127.0.0.1:{port}", log, Watchdog(process.pid))
        self._children.append(child)
        return child

    async def ready(self, child: Child, path: str = "/ready") -> None:
        """Wait until the stage reports that it is ready.

        Raises:
            DeliveryError: it ended or did not get ready; the message holds the end of its log.
        """
        deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
        async with httpx.AsyncClient(base_url=child.url, timeout=2, trust_env=False) as client:
            while asyncio.get_running_loop().time() < deadline:
                code = child.process.poll()
                if code is not None:
                    raise DeliveryError(f"{child.name} ended with exit code {code}; its log says:\n{child.tail()}")
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(path)).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.05)
        raise DeliveryError(f"{child.name} was not ready within {READY_WITHIN_S} s; its log says:\n{child.tail()}")

    def stop(self) -> None:
        """SIGTERM to each, last started first; SIGKILL to what is still there after the grace."""
        while self._children:
            child = self._children.pop()
            if child.process.poll() is None:
                child.process.terminate()
                try:
                    child.process.wait(STOP_GRACE_S)
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
            child.watchdog.close()
