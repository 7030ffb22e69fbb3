"""Whatever inner part of a worker hangs or is killed, a probe fails or the process ends; on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.dodo import samples
from pipeline.kafka.local.broker import free_port
from pipeline.settings import PREFIX, Settings
from tests.asking import local_client
from tests.cli.test_signals import credentials
from tests.watch.test_worker import running
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

HUNG_WORKER = Path(__file__).parents[1] / "data" / "watch" / "hung_worker.py"
WITHIN_S = 120.0
ANSWER_WITHIN_S = 2.0
AT_ONCE = 3

PARTS = [
    *("driver's loop", "main loop", "fetcher", "heartbeat", "coordinator", "join", "drain", "agent"),
    *("killed fetcher", "killed heartbeat", "killed coordinator", "killed drain", "killed agent"),
]
LONG = [
    *((stage, part, busy) for stage in ("transform", "sink") for part in PARTS for busy in (True, False)),
    *(("sink", "lanes", busy) for busy in (True, False)),
    ("transform", "restore", False),
]
CASES = LONG if os.environ.get("CHAOS_SECONDS") else [LONG[1], LONG[5], LONG[-2], LONG[-1]]
"""In short: the driver's loop and the fetcher, which nothing but the questions of the watch finds while nothing waits,
the lanes, and a restore."""


PROBES = ("/ready", "/live")
RESTORING = ("/live",)
"""While a state is restored a worker is not ready, hung or not."""

NO_ANSWER = "no answer"


async def probe(port: int, paths: Sequence[str] = PROBES) -> str | None:
    """What fails of the probes, None when they are well, or an exit is to follow."""
    async with local_client(f"http://127.0.0.1:{port}", timeout=ANSWER_WITHIN_S) as client:
        for path in paths:
            try:
                answer = await client.get(path)
            except httpx.HTTPError as error:
                return f"{path}: {NO_ANSWER}: {type(error).__name__}"
            if answer.status_code != httpx.codes.OK and answer.json()["reason"] != "stopping":
                return f"{path}: {answer.text}"
    return None


async def until_well(worker: WorkerProcess, port: int, paths: Sequence[str]) -> None:
    """Wait until the worker's probes are."""
    async with asyncio.timeout(WITHIN_S):
        while await probe(port, paths) is not None:
            worker.lines()
            await asyncio.sleep(0.05)


async def hangs(worker: WorkerProcess, directory: Path, part: str) -> None:
    """Wait until the part does, or the process has ended over it; a restore hangs from the start."""
    async with asyncio.timeout(WITHIN_S):
        hung = directory / "hangs"
        while part != "restore" and not hung.exists() and worker.process.poll() is None:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)


async def stays_broken(worker: WorkerProcess, port: int, paths: Sequence[str], part: str) -> str | None:
    """What is seen of it in the end: an exit code, or a probe that failed for longer than any rebalance takes.

    Only the main loop is known by probes without an answer, since they run in it; of others a busy machine gives none.
    """
    failures = 0
    seen: str | None = None
    async with asyncio.timeout(WITHIN_S):
        while failures < 10:
            if worker.process.poll() is not None:
                return f"exit code {worker.process.returncode}"
            seen = await probe(port, paths)
            if seen is None:
                failures = 0
            elif part == "main loop" or NO_ANSWER not in seen:
                failures += 1
            await asyncio.sleep(0.2)
    return seen


async def test_nothing_hangs_unseen(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    """With records that keep coming, and with some that come only after the fault, while nothing waits."""
    body = samples.load("payment.succeeded")
    room = asyncio.Semaphore(AT_ONCE)
    outcomes: dict[str, str] = {}

    async def one(stage: str, part: str, *, busy: bool, url: str) -> None:
        name = f"{stage}, {part}, {'busy' if busy else 'idle'}"
        directory = tmp_path / name.replace(" ", "_").replace(",", "").replace("'", "")
        directory.mkdir()
        port = free_port()
        settings = await chain_settings(
            partitions=1, log_format="json", **credentials(url), data_dir=directory / "data"
        )
        topic = settings.webhooks_topic if stage == "transform" else settings.operations_topic
        value = body if stage == "transform" else OPERATION
        environ = {**environment(settings), f"{PREFIX}PORT": str(port)}
        command = [sys.executable, str(HUNG_WORKER), stage, part]
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
        flowing, ending = asyncio.Event(), asyncio.Event()

        async def traffic() -> None:
            while not ending.is_set():
                await producer.send_and_wait(topic, value, key=b"cus_1", headers=[("webhook-id", b"msg_1")])
                flowing.set()
                await asyncio.sleep(0.1)

        async with room, producer, asyncio.TaskGroup() as beside:
            with running(command, environ, directory / "log") as worker:
                paths = RESTORING if part == "restore" else PROBES
                await until_well(worker, port, paths)
                if busy:
                    beside.create_task(traffic())
                    async with asyncio.timeout(WITHIN_S):
                        await flowing.wait()
                (directory / "now").touch()
                if not busy:
                    await hangs(worker, directory, part)
                    beside.create_task(traffic())
                try:
                    outcomes[name] = await stays_broken(worker, port, paths, part) or ""
                except TimeoutError:
                    outcomes[name] = "NOTHING WAS SEEN"
                ending.set()

    async with SandboxServer(SandboxConfig()) as sandbox:
        await asyncio.gather(*(one(stage, part, busy=busy, url=sandbox.url) for stage, part, busy in CASES))
    print(*(f"{name}: {seen}" for name, seen in outcomes.items()), sep="\n")  # noqa: T201
    assert [name for name, seen in outcomes.items() if seen == "NOTHING WAS SEEN"] == []
    assert len(outcomes) == len(CASES)


OPERATION = b'{"type":"person","identifiers":{"id":"cus_1"},"action":"event","name":"e"}'
