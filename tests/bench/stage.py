"""Topics with operations in them and sinks that read them, outside of pytest."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import httpx
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from pipeline.customerio.operations import event
from pipeline.customerio.vouching import word_for
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.kafka.local.broker import LocalKafka
from pipeline.kafka.local.process import Watchdog
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import PREFIX, Settings
from tests.asking import local_client
from tests.kafka.shared import SharedKafka

Headers = list[tuple[str, bytes]]
Sent = tuple[bytes, bytes, Headers]

OPERATION_BYTES: Final = 700
PEOPLE: Final = 20_000
AT_S: Final = 1_790_000_000
PATIENCE_S: Final = 120.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
SECRET: Final = "whsec_" + base64.b64encode(b"the secret of a benchmark's run.").decode()
STOP_WITHIN_S: Final = 20.0
MAX_PENDING: Final = 32
"""Batches on their way; bounds this process's memory."""


ROOT: Final = Path(__file__).absolute().parents[2]
"""Where programs are started: under `make compiled`'s tree the package that they find there is the compiled one."""

PEERS: Final = Path(__file__).resolve().parents[2] / ".venv-bench/bin/python"
"""The interpreter of those whose packages are not ours; `make bench` installs it."""

HANDED_ON: Final = (
    "kafka_bootstrap_servers", "webhooks_topic", "operations_topic", "dead_letters_topic", "customers_topic",
    "transform_group", "state", "sink_group", "dodo_webhook_secrets", "customerio_site_id", "customerio_api_key",
    "customerio_url", "customerio_requests_per_second", "data_dir", "host", "port", "drain_seconds", "log_format",
    "rules", "javascript",
    "ingest_workers", "group_instance_id", "session_timeout_seconds",
)  # fmt: skip
"""Settings that differ from their defaults."""


def operation(number: int) -> Sent:
    """Key, value and headers of operation `number`, with the headers that the transform writes; all of one size."""
    person = b"cus_%08d" % (number * 7919 % PEOPLE)
    attributes = {"payment_id": f"pay_{number:012d}", "amount": 12.5, "currency": "EUR", "number": number + 10**9}
    body = event(person.decode(), "payment_succeeded", id=f"{number:026d}", timestamp_s=AT_S, attributes=attributes)
    filled = {**attributes, "note": "x" * (OPERATION_BYTES - len(body) - len(',"note":""'))}
    value = event(person.decode(), "payment_succeeded", id=f"{number:026d}", timestamp_s=AT_S, attributes=filled)
    headers = [
        ("checked", word_for(value)),
        ("op-id", b"%026d" % number),
        ("webhook-id", b"msg_%024d" % number),
        ("dodo-type", b"payment.succeeded"),
        ("event-time", b"1790000000000"),
        ("received-at", b"1790000000100"),
        ("source", b"dodo.webhooks/3/%d" % number),
    ]
    return person, value, headers


async def topics(broker: LocalKafka | SharedKafka, directory: Path, partitions: int, **overrides: Any) -> Settings:
    """Settings with topics and groups of their own."""
    prefix = f"b{uuid.uuid4().hex[:10]}"
    settings = Settings.load(
        **{
            "kafka_bootstrap_servers": broker.bootstrap_servers,
            "operations_topic": f"{prefix}.operations",
            "webhooks_topic": f"{prefix}.webhooks",
            "dead_letters_topic": f"{prefix}.dead-letters",
            "customers_topic": f"{prefix}.customers",
            "transform_group": f"{prefix}.transform",
            "sink_group": f"{prefix}.sink",
            "dodo_webhook_secrets": (SecretStr(SECRET),),
            "customerio_site_id": "site",
            "customerio_api_key": "key",
            "log_format": "json",
            "data_dir": directory / prefix,
            "host": "127.0.0.1",
            "port": 0,
            "drain_seconds": 0,
            **overrides,
        }
    )
    specs = [replace(spec, partitions=partitions) for spec in load_specs(settings)]
    assert not await apply(settings, plan(specs, {}))
    return settings


async def fill(bootstrap_servers: str, topic: str, partitions: int, records: Iterable[Sent]) -> int:
    """Write these records by their keys; how many there were."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=900_000, linger_ms=0)
    await producer.start()
    sent = 0
    builders = {number: producer.create_batch() for number in range(partitions)}
    pending: set[asyncio.Future[Any]] = set()
    try:
        for key, value, headers in records:
            partition = partition_of(key, partitions)
            fields = {"key": key, "value": value, "timestamp": None, "headers": headers}
            if builders[partition].append(**fields) is None:
                pending.add(await producer.send_batch(builders[partition], topic, partition=partition))
                builders[partition] = producer.create_batch()
                assert builders[partition].append(**fields) is not None
                if len(pending) > MAX_PENDING:
                    done, pending = await asyncio.wait(pending)
                    await asyncio.gather(*done)
            sent += 1
        for partition, builder in builders.items():
            if builder.record_count():
                pending.add(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*pending)
    finally:
        await producer.stop()
    return sent


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with `settings` and no other setting of the project."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in HANDED_ON:
        value = getattr(settings, name)
        if value is not None:
            variables[f"{PREFIX}{name.upper()}"] = _written(value)
    return variables


def _written(value: Any) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(_written(item) for item in value)
        case _:
            return str(value)


def cpu_s(pid: int) -> float:
    """Seconds of processor time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Process:
    """Something that runs until it is stopped, and never longer than this process."""

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], directory: Path, name: str, *, cwd: Path = ROOT
    ) -> None:
        self.name = name
        self.log = directory / f"{name}-{uuid.uuid4().hex[:6]}.log"
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                tuple(argv), env=dict(environ), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=cwd
            )
        self._watchdog = Watchdog(self._process.pid)
        self.pid = self._process.pid

    @classmethod
    def stage(cls, settings: Settings, directory: Path, stage: str) -> Self:
        """A stage as an operator starts it."""
        return cls((sys.executable, "-m", "pipeline", stage), environment(settings), directory, stage)

    def check(self) -> None:
        """Fail with the log when it ended."""
        code = self._process.poll()
        if code is not None:
            tail = self.log.read_text(errors="replace")[-4000:]
            raise ProcessEndedError(f"{self.name} ended with exit code {code}; its log says:\n{tail}")

    def cpu_s(self) -> float:
        """Seconds of processor time so far, all threads, and the processes that it has started and that still run."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(map(cpu_s, (self.pid, *map(int, children))))

    def rss_mb(self) -> float:
        """Resident memory, megabytes of 10^6 bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watchdog.close()


class ProcessEndedError(Exception):
    """A process that should run has ended."""


def health_port(process: Process) -> int | None:
    """The port of its probes, once its log tells; for one that chose it itself."""
    for line in process.log.read_text(errors="replace").splitlines():
        if '"health listening"' in line:
            return int(json.loads(line)["port"])
    return None


async def until_ready(process: Process) -> None:
    """Wait until a stage with a port of its own choice is ready, however long it restores."""
    while (port := health_port(process)) is None:
        process.check()
        await asyncio.sleep(0.05)
    async with local_client(f"http://127.0.0.1:{port}", timeout=5) as client:
        while True:
            process.check()
            with suppress(httpx.HTTPError):
                if (await client.get("/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)


async def ready(process: Process, url: str, path: str = "/ready") -> None:
    """Wait until it answers 200 on `path`."""
    async with local_client(url, timeout=2) as client, asyncio.timeout(PATIENCE_S):
        while True:
            process.check()
            with suppress(httpx.HTTPError):
                if (await client.get(path)).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.02)
