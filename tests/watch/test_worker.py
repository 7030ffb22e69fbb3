"""The watch over a real worker on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.settings import Settings
from tests.asking import local_client
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

LAZY_WORKER = Path(__file__).parents[1] / "data" / "watch" / "lazy_worker.py"
RECORDS = 30_000
"""More than the chunks before the agent and the polls behind them hold, so that some stay at the broker."""


@contextlib.contextmanager
def running(command: Sequence[str], environ: dict[str, str], log: Path) -> Iterator[WorkerProcess]:
    """A worker that does not outlive the test."""
    worker = WorkerProcess(command, environ, log)
    try:
        yield worker
    finally:
        worker.kill()


async def fill(settings: Settings) -> None:
    """Put records into the operations topic."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, linger_ms=5)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(settings.operations_topic, b"{}" * 50) for _ in range(RECORDS)])
    finally:
        await producer.stop()


async def test_stuck_and_retrying(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """A stage that sits on its records is reported dead; one that retries without success for as long is alive."""

    async def status_of(behaviour: str) -> dict[str, Any]:
        settings = await chain_settings(partitions=1, log_format="json")
        await fill(settings)
        command = [sys.executable, str(LAZY_WORKER), behaviour]
        with running(command, environment(settings), tmp_path / behaviour) as worker:
            status = await status_when(
                worker, lambda seen: seen["unread"] > 0 and (not seen["live"] or seen["attempts"] > 50)
            )
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, 300) == 0
            return status

    sitting, retrying = await asyncio.gather(status_of("sit"), status_of("retry"))
    assert sitting["live"] is False
    assert "/0 has stood still for" in sitting["live_reason"]
    assert "its oldest unfinished record, offset 0, was neither finished nor tried again" in sitting["live_reason"]
    assert retrying["live"] is True
    for status in (sitting, retrying):
        assert status["ready"] is True
        assert (status["partitions"], status["committed"], status["acknowledged"]) == (1, 0, 0)
        assert status["undelivered"] > 0
        assert status["undelivered"] + status["unread"] <= RECORDS


async def test_one_partition_that_stands_still(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """A record that nobody has in hand is reported although its sink delivers and commits other partitions."""
    settings = await chain_settings(partitions=2, log_format="json")
    command = [sys.executable, str(LAZY_WORKER), "one"]
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()

    async def flow() -> None:
        while True:
            await producer.send_and_wait(settings.operations_topic, b"{}", partition=1)
            await asyncio.sleep(0.1)

    flowing = asyncio.create_task(flow())
    try:
        for _ in range(3):
            await producer.send_and_wait(settings.operations_topic, b"{}", partition=0)
        with running(command, environment(settings), tmp_path / "one") as worker:
            place = f"{settings.operations_topic}/0 has stood still"
            status = await status_when(worker, lambda seen: not seen["live"] and place in seen["live_reason"])
    finally:
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)
        await producer.stop()
    assert "oldest unfinished record, offset 0" in status["live_reason"]
    stuck, moving = status["assignment"]
    assert (stuck["oldest_unfinished"], stuck["acknowledged"], stuck["committed"]) == (0, 0, 0)
    assert stuck["still_s"] > 5
    assert moving["committed"] > 0
    assert status["attempts"] > 0


async def status_when(worker: WorkerProcess, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status that fulfils `condition`."""
    seen: dict[str, Any] = {}
    try:
        async with asyncio.timeout(300), local_client() as client:
            while True:
                lines = worker.lines()
                ports = [line["port"] for line in lines if line["message"] == "health listening"]
                if ports:
                    seen = (await client.get(f"http://127.0.0.1:{ports[0]}/status")).json()
                    if condition(seen):
                        return seen
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"the condition never held; the last status was {seen}")
