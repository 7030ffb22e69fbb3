"""The sink as it is run: processes on a real Apache Kafka, against the sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.structs import RecordMetadata

from pipeline.customerio.operations import event, identify
from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.faults import parse_steps
from pipeline.customerio.sandbox.server import SandboxServer
from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.records import BARRIER, OutRecord
from pipeline.settings import Settings
from tests.admin import until_done
from tests.workers import PATIENCE_S, POLL_S, WorkerProcess

DODO_CIO: Final = (sys.executable, "-m", "pipeline", "sink")
PATIENT: Final = (sys.executable, str(Path(__file__).with_name("patient_worker.py")))
FAUST: Final = (sys.executable, "-m", "faust", "-A", "pipeline.sink.app", "worker", "--without-web")
AT_S: Final = 1_790_000_000
ORDER: Final = "number"
"""The attribute by which the sandbox counts a person's events that arrive out of order."""


def event_record(person: str, number: int, **attributes: Any) -> OutRecord:
    """The event `number` (unique in a test) of `person`, as the transform writes it."""
    body = event(person, "tested", id=f"{number:026d}", timestamp_s=AT_S, attributes={ORDER: number, **attributes})
    return OutRecord(person.encode(), body, (("op-id", b"%026d" % number), ("webhook-id", b"msg_1")))


def identify_record(person: str) -> OutRecord:
    """The first identify of `person`: a barrier."""
    body = identify(person, {"email": f"{person}@example.com"}, timestamp_s=AT_S)
    return OutRecord(person.encode(), body, ((BARRIER, b"1"),))


class Worker(WorkerProcess):
    """A sink in a process of its own."""

    async def series(self, name: str) -> float:
        """The sum of a series over its labels."""
        return sum(sample.value for sample in await self.samples(name))

    async def shows(self, name: str, condition: Callable[[float], bool]) -> None:
        """Wait until a series fulfils `condition`."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(await self.series(name)):  # noqa: ASYNC110 - a scrape is a question
                await asyncio.sleep(POLL_S)


class Stage:
    """Topics of one test, a sandbox in this process, and sinks between them."""

    def __init__(self, settings: Settings, environ: dict[str, str], directory: Path, sandbox: SandboxServer) -> None:
        self.settings = settings
        self.server = sandbox
        self._environ = environ
        self._directory = directory
        self.workers: list[Worker] = []

    def start(self, command: Sequence[str] = DODO_CIO, **environ: str) -> Worker:
        """Start one more sink."""
        worker = Worker(command, {**self._environ, **environ}, self._directory / f"sink-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    async def produce(self, records: Sequence[OutRecord]) -> list[RecordMetadata]:
        """Put records into the operations topic; the place of each."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        try:
            sends = [
                await producer.send(
                    self.settings.operations_topic, key=one.key, value=one.value, headers=list(one.headers)
                )
                for one in records
            ]
            return await asyncio.gather(*sends)
        finally:
            await producer.stop()

    async def done(self) -> None:
        """Wait until the group has committed what lies in the operations topic."""
        try:
            await until_done(self.settings, self.settings.sink_group, self.settings.operations_topic, self._alive)
        except AssertionError as error:
            error.add_note(await self._told())
            raise

    def _alive(self) -> None:
        for worker in self.workers:
            assert worker.process.poll() in {None, 0, -signal.SIGKILL}, worker.text

    async def _told(self) -> str:
        """What the workers say about themselves; one that is frozen says nothing."""
        told = []
        for worker in self.workers:
            for path in ("/status", "/metrics"):
                try:
                    told.append((await worker.get(path)).text)
                except httpx.HTTPError as error:
                    told.append(repr(error))
        return "\n".join(told)

    async def dead_letters(self) -> list[ConsumerRecord[bytes, bytes]]:
        """Every dead letter, oldest first."""
        tps = await self._partitions(self.settings.dead_letters_topic)
        async with self._reader() as consumer:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found: list[ConsumerRecord[bytes, bytes]] = []
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        async with open_admin(self.settings) as admin:
            count = (await admin.partitions([topic]))[topic][0]
        return [TopicPartition(topic, number) for number in range(count)]

    def _reader(self) -> Reader:
        return Reader(self.settings)

    @property
    def stats(self) -> dict[str, Any]:
        """The sandbox's counts."""
        return self.server.sandbox.stats()

    @property
    def numbers(self) -> list[int]:
        """The number of every event that arrived, first deliveries in order."""
        return [int(one.as_json()["id"]) for one in self.server.sandbox.workspace.events]

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        """The operations of each request that is still kept."""
        bodies = (one.body for one in self.server.sandbox.requests if one.path == "/api/v2/batch")
        return [orjson.loads(body)["batch"] for body in bodies if body]

    def faults(self, *steps: dict[str, Any]) -> None:
        """Replace the fault script."""
        self.server.sandbox.script.clear()
        self.server.sandbox.script.add(parse_steps(list(steps)))

    async def requests(self, count: int) -> None:
        """Wait until the sandbox saw so many requests, each worker's start by one among them."""
        async with asyncio.timeout(PATIENCE_S):
            while self.stats["requests"] < count:  # noqa: ASYNC110 - the sandbox tells nobody of its requests
                await asyncio.sleep(0.01)

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            if worker.process.poll() is None:
                os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()


class Reader(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka is untyped
    """A consumer outside of any group, as a context."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )


MakeStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make_stage(
    chain_settings: Callable[..., Awaitable[Settings]],
    environment: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> AsyncIterator[MakeStage]:
    """Builder of stages, `sandbox` being options of its `SandboxConfig`; nothing runs yet but the sandbox."""
    async with AsyncExitStack() as stack:

        async def make(sandbox: dict[str, Any] | None = None, **settings: Any) -> Stage:
            config = SandboxConfig(**{"order_by": ORDER, "environment_id": 1, **(sandbox or {})})
            server = await stack.enter_async_context(SandboxServer(config))
            built = await chain_settings(
                **{
                    "customerio_url": server.url,
                    "customerio_site_id": "site",
                    "customerio_api_key": "key",
                    "log_format": "json",
                    **settings,
                }
            )
            stage = Stage(built, environment(built), tmp_path, server)
            stack.callback(stage.end)
            return stage

        yield make


class Made:
    """Builders, for test modules."""

    event_record = staticmethod(event_record)
    identify_record = staticmethod(identify_record)
    DODO_CIO = DODO_CIO
    PATIENT = PATIENT
    FAUST = FAUST


@pytest.fixture(scope="session")
def made() -> type[Made]:
    """Builders of records, and the commands."""
    return Made
