"""Topics with operations in them and sinks that read them, outside of pytest."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from pipeline.customerio.operations import event
from pipeline.kafka.local import LocalKafka
from pipeline.kafka.murmur2 import partition_of
from pipeline.kafka.topics import apply, load_specs, plan
from pipeline.settings import PREFIX, Settings

Headers = list[tuple[str, bytes]]

OPERATION_BYTES: Final = 700
PEOPLE: Final = 20_000
AT_S: Final = 1_790_000_000
PATIENCE_S: Final = 120.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


HANDED_ON: Final = (
    "kafka_bootstrap_servers", "operations_topic", "dead_letters_topic", "sink_group", "customerio_site_id",
    "customerio_api_key", "customerio_url", "customerio_requests_per_second", "data_dir", "host", "port", "log_format",
    "webhooks_topic", "customers_topic", "transform_group", "state",
)  # fmt: skip
"""Settings that differ from their defaults."""


def operation(number: int) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of operation `number`, with the headers that the transform writes; all of one size."""
    person = b"cus_%08d" % (number * 7919 % PEOPLE)
    attributes = {"payment_id": f"pay_{number:012d}", "amount": 12.5, "currency": "EUR", "number": number + 10**9}
    body = event(person.decode(), "payment_succeeded", id=f"{number:026d}", timestamp_s=AT_S, attributes=attributes)
    filled = {**attributes, "note": "x" * (OPERATION_BYTES - len(body) - len(',"note":""'))}
    value = event(person.decode(), "payment_succeeded", id=f"{number:026d}", timestamp_s=AT_S, attributes=filled)
    headers = [
        ("op-id", b"%026d" % number),
        ("webhook-id", b"msg_%024d" % number),
        ("dodo-type", b"payment.succeeded"),
        ("event-time", b"1790000000000"),
        ("received-at", b"1790000000100"),
        ("source", b"dodo.webhooks/3/%d" % number),
    ]
    return person, value, headers


async def topics(broker: LocalKafka, directory: Path, partitions: int, **overrides: Any) -> Settings:
    """Settings with topics and groups of their own."""
    prefix = f"b{uuid.uuid4().hex[:10]}"
    settings = Settings.load(
        **{
            "kafka_bootstrap_servers": broker.bootstrap_servers,
            "operations_topic": f"{prefix}.operations",
            "webhooks_topic": f"{prefix}.webhooks",
            "dead_letters_topic": f"{prefix}.dead-letters",
            "customers_topic": f"{prefix}.customers",
            "sink_group": f"{prefix}.sink",
            "customerio_site_id": "site",
            "customerio_api_key": "key",
            "log_format": "json",
            "data_dir": directory / prefix,
            "host": "127.0.0.1",
            "port": 0,
            **overrides,
        }
    )
    specs = [replace(spec, partitions=partitions) for spec in load_specs(settings)]
    assert not await apply(settings, plan(specs, {}))
    return settings


async def fill(settings: Settings, partitions: int, numbers: Iterable[int]) -> int:
    """Write these operations; how many there were."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", max_batch_size=900_000, linger_ms=0
    )
    await producer.start()
    topic, sent = settings.operations_topic, 0
    builders = {number: producer.create_batch() for number in range(partitions)}
    pending: list[asyncio.Future[Any]] = []
    try:
        for number in numbers:
            key, value, headers = operation(number)
            partition = partition_of(key, partitions)
            fields = {"key": key, "value": value, "timestamp": None, "headers": headers}
            if builders[partition].append(**fields) is None:
                pending.append(await producer.send_batch(builders[partition], topic, partition=partition))
                builders[partition] = producer.create_batch()
                assert builders[partition].append(**fields) is not None
            sent += 1
        for partition, builder in builders.items():
            if builder.record_count():
                pending.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*pending)
    finally:
        await producer.stop()
    return sent


class Process:
    """A stage in a process of its own."""

    def __init__(self, settings: Settings, directory: Path, command: str = "sink") -> None:
        self.log = directory / f"{command}-{uuid.uuid4().hex[:6]}.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        for setting in HANDED_ON:
            value = getattr(settings, setting)
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            if value is not None:
                environ[f"{PREFIX}{setting.upper()}"] = text
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "pipeline", command),
                env=environ,
                stdout=stream,
                stderr=stream,
                cwd=directory,
            )
        self.pid = self._process.pid

    def check(self) -> None:
        """Fail with the log when it ended."""
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-4000:]

    def cpu_s(self) -> float:
        """Seconds of processor time so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        """Resident memory now, mapped files included; 0 once it has ended."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
