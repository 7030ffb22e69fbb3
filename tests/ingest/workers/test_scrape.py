"""One scrape of several workers: what it says of them is what the probes say."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.ingest.workers.process import Worker
from pipeline.ingest.workers.supervisor import Supervisor
from pipeline.ingest.workers.wire import Reply, Wire
from pipeline.settings import Settings
from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.vitals import Verdict

WELL = Verdict(ok=True, reason="Kafka answers")
ILL = Verdict(ok=False, reason="no broker answers")


class Process:
    """Stands for a worker's process, of which only the number is asked."""

    pid = 1


class Peer:
    """The other end of a worker's wire: it answers as a worker does, until it hangs."""

    def __init__(self) -> None:
        self.hangs = False
        self.verdict = WELL
        self.health = Health(Metrics("ingest"), ready=lambda: self.verdict, live=lambda: self.verdict)

    def answer(self, _: Any, reply: Reply) -> None:
        """Say how it is, and what it counts."""
        if self.hangs:
            return
        self.health.beat()
        said = [self.verdict.ok, self.verdict.reason]
        text = self.health.metrics.render()[0].decode()
        reply({"ready": said, "live": said, "status": {}, "metrics": text, "events": []})


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Supervisor, list[Peer]]]:
    """A supervisor of two workers that serve."""
    supervisor = Supervisor(Settings.load(ingest_workers=2), lambda _: None)
    peers = [Peer(), Peer()]
    loop, wires = asyncio.get_running_loop(), []
    for worker, peer in zip(supervisor._workers, peers, strict=True):
        ours, theirs = socket.socketpair()
        for end, answer in ((ours, _nothing), (theirs, peer.answer)):
            end.setblocking(False)
            wires.append(Wire(_nothing, answer, _nothing))
            await loop.create_unix_connection(lambda wire=wires[-1]: wire, sock=end)  # type: ignore[misc]
        _serves(worker, wires[-2])
    try:
        yield supervisor, peers
    finally:
        for wire in wires:
            wire.close()


def _nothing(*_: Any) -> None:
    """Hear, or answer, nothing."""


def _serves(worker: Worker, wire: Wire) -> None:
    worker.process, worker.wire, worker.served_at = Process(), wire, time.monotonic()  # type: ignore[assignment]


async def _verdicts(supervisor: Supervisor) -> tuple[float, float]:
    """`dodo_cio_live` and `dodo_cio_ready` of one scrape."""
    replied: list[Any] = []
    await supervisor._answer("/metrics", "", replied.append)
    ((_, _, text),) = replied
    found = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return found["dodo_cio_live"], found["dodo_cio_ready"]


@pytest.mark.parametrize("scraped_before", [True, False])
async def test_one_that_hangs_is_not_live(*, scraped_before: bool) -> None:
    """A worker that is silent for as long as a probe waits makes the gauges 0, whatever they were; then 1 again."""
    async with two() as (supervisor, peers):
        if scraped_before:
            assert await _verdicts(supervisor) == (1, 1)
        peers[1].hangs = True
        assert await _verdicts(supervisor) == (0, 0)
        peers[1].hangs = False
        assert await _verdicts(supervisor) == (1, 1)


async def test_one_that_is_ill_is_not_live() -> None:
    """What one worker says of itself holds for all."""
    async with two() as (supervisor, peers):
        peers[0].verdict = ILL
        assert await _verdicts(supervisor) == (0, 0)
