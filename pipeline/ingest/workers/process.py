"""One worker's process: started with a wire to it, ordered to stop, and asked for its probes' answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from pipeline.ingest.workers.answers import Said
from pipeline.ingest.workers.wire import LostError, Reply, Wire
from pipeline.watch.page.document import STAGE_PATH, Event
from pipeline.watch.summed import families
from pipeline.watch.vitals import Verdict

QUESTIONS: Final = {"/metrics": "metrics", STAGE_PATH: "page"}
"""What a worker is asked for a path; for the others its state."""


class Worker:
    """A worker by its number: its process, while there is one, and its last report."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.wire: Wire | None = None
        self.served_at: float | None = None
        self.series: list[Metric] = []

    @property
    def serves(self) -> bool:
        """Whether it takes webhooks."""
        return self.process is not None and self.served_at is not None

    def order(self, order: str) -> None:
        """Send it the order, if there is a process."""
        if self.wire is not None:
            self.wire.tell(order)

    async def run(
        self,
        environment: Mapping[str, str],
        heard: Callable[[Any], None],
        asked: Callable[[Any, Reply], None],
        *,
        stopping: Callable[[], bool],
    ) -> int:
        """Run one process, from its start to its end.

        Args:
            environment: of the process.
            heard: called when it serves.
            asked: called when it gets a probe, which is answered for all workers.
            stopping: whether the end was ordered before the process existed.

        Returns:
            Its exit code, negative for a signal.
        """
        self.served_at = None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        wire = Wire(heard, asked, lambda: None)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: wire, sock=ours)
            with contextlib.closing(theirs):
                process = await asyncio.create_subprocess_exec(
                    *_argv(self.number), stdin=theirs.fileno(), env=environment, start_new_session=True
                )
        except BaseException:
            wire.close()
            raise
        self.process, self.wire = process, wire
        try:
            if stopping():
                self.order("stop")
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            wire.close()
            self.process = self.wire = None

    async def answer(self, path: str) -> Said:
        """What it answers about itself for the probe at `path`; keeps its series if that has them."""
        pid = self.process.pid if self.process is not None else 0
        try:
            if self.wire is None:
                raise LostError  # noqa: TRY301 - one place handles it
            said = await self.wire.ask(QUESTIONS.get(path, "state"))
        except (LostError, TimeoutError):
            said = None
        if said is None:
            return Said(self.number, pid, None, None, {})
        if said["metrics"]:
            self.series = families(said["metrics"])
        shown = [Event.model_validate(event) for event in said["events"]]
        return Said(self.number, pid, Verdict(*said["ready"]), Verdict(*said["live"]), said["status"], shown)


def _argv(number: int) -> Sequence[str]:
    return sys.executable, "-P", "-m", "pipeline", "ingest", "--worker", str(number)
