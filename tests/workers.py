"""A stage in a process of its own: started, awaited by what it logs, ended by a signal."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 300.0
"""A bound against hanging, on a machine that does ten other things."""

POLL_S: Final = 0.05


class WorkerProcess:
    """One stage; its log lines are JSON, and all that it prints is in `log`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, env=dict(environ), stdout=stream, stderr=stream, cwd=log.parent)

    @property
    def text(self) -> str:
        """Everything that it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def place(self) -> int:
        """The end of what it said so far: a wait for what it says next begins here."""
        return len(self.text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, or fail with the end of the log when the process ends first."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert self.process.poll() is None, self.text[-6000:]
                await asyncio.sleep(POLL_S)

    async def says(self, *parts: str, since: int = 0) -> None:
        """Wait until a line behind the place `since` has all of it: what an earlier generation said is no answer."""
        await self.until(lambda: any(all(part in line for part in parts) for line in self.text[since:].splitlines()))

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code, once the process has ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(self.process.wait)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()
