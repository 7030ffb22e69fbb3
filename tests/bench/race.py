"""Contenders on the same records: started one at a time, timed by the broker's clock, their output counted.

The clock is LogAppendTime of the output topic, from the first record to the last: start-up, joining the group and
stopping are nobody's business here, and no contender tells its own time.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.cluster.admin import open_admin
from pipeline.kafka.cluster.topics import apply, load_specs, plan
from pipeline.settings import Settings
from tests.bench import bento, stage
from tests.bench.figures import per
from tests.bench.machine import Others
from tests.bench.plan import Run
from tests.bench.previous import export

STILL_S: Final = 60.0
"""A contender that writes nothing for so long has failed."""

POLL_S: Final = 0.1
FIRST_RECORD: Final = b'"payment_id":"pay_'
NUMBER_DIGITS: Final = 21


@dataclass(frozen=True, slots=True)
class Contender:
    """One program.

    Attributes:
        name: as shown.
        module: of `tests.bench.contenders`; "bento": the binary, with its configuration for transform.
        arguments: beyond those that every peer gets; ours gets its settings from the environment instead.
        ours: whether it needs the project.
        state: whether it keeps the customers' state.
        outputs: records that it writes for each webhook.
        foreign: whether it needs packages that only `.venv-bench` has.
        is_previous: whether it is the project at another commit.
        part: share of the records that it maps, for those that would take minutes.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    ours: bool = False
    state: bool = False
    foreign: bool = False
    outputs: int = 1
    part: float = 1.0
    is_previous: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a contender wrote, read back from its topic."""

    records: int
    distinct: int
    reordered: int
    scattered: int
    first_ms: int
    first_records: int
    last_ms: int

    @property
    def per_second(self) -> float:
        """Records a second after the first batch, which was mapped before the clock began; if there are more."""
        return per(self.records - self.first_records, (self.last_ms - self.first_ms) / 1000)


@dataclass(frozen=True, slots=True)
class Result:
    """One contender in one round."""

    webhooks_per_second: float
    cpu_us: float
    others_percent: float
    repeated: int
    reordered: int
    scattered: int


class MissingRecordsError(Exception):
    """A contender stopped writing before every record had its output."""


async def race(run: Run, settings: Settings, contender: Contender, webhooks: int, *, workers: int = 1) -> Result:
    """Let `contender` map the `webhooks` records of the settings' topic into a topic of its own.

    Raises:
        MissingRecordsError: it wrote fewer distinct records than it had to.
        ProcessEndedError: it ended.
    """
    own = await _topics_of_its_own(settings, state=contender.state)
    processes: list[stage.Process] = []
    try:
        processes += [_start(run, contender, own) for _ in range(workers)]
        expected = webhooks * contender.outputs
        seen = await _watch(processes, own, expected)
        await asyncio.gather(*(process.stop() for process in processes))
        processes.clear()
        output = await _read_back(own)
    finally:
        await asyncio.gather(*(process.stop() for process in processes))
        await _delete(own)
    if output.distinct < expected:
        raise MissingRecordsError(f"{contender.name}: {output.distinct:,} distinct records of {expected:,}")
    return Result(
        webhooks_per_second=output.per_second / contender.outputs,
        cpu_us=per(1e6 * seen.cpu_s, seen.records / contender.outputs),
        others_percent=seen.others_percent,
        repeated=output.records - output.distinct,
        reordered=output.reordered,
        scattered=output.scattered,
    )


async def _topics_of_its_own(settings: Settings, *, state: bool) -> Settings:
    name = f"{settings.operations_topic}.{uuid.uuid4().hex[:6]}"
    customers = f"{name}.customers"
    own = settings.model_copy(
        update={
            "operations_topic": name,
            "customers_topic": customers,
            "transform_group": name,
            "data_dir": settings.data_dir / name,
            "state": state,
        }
    )
    wanted = await _partitions(settings, settings.webhooks_topic)
    specs = [replace(spec, partitions=wanted) for spec in load_specs(own) if spec.name in {name, customers}]
    assert not await apply(own, plan(specs, {}))
    return own


async def _partitions(settings: Settings, topic: str) -> int:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        return len(consumer.partitions_for_topic(topic))
    finally:
        await consumer.stop()


async def _delete(settings: Settings) -> None:
    async with open_admin(settings) as admin:
        await admin.delete([settings.operations_topic, settings.customers_topic])


def _start(run: Run, contender: Contender, settings: Settings) -> stage.Process:
    if contender.module == "bento":
        return bento.start(settings, run.directory, ["transform"])
    module, directory = f"tests.bench.contenders.{contender.module}", run.directory
    if contender.ours:
        argv = (sys.executable, "-m", module, *contender.arguments)
        where = stage.ROOT
        if contender.is_previous and run.previous is not None:
            where = export(run.previous, directory)
        return stage.Process(argv, stage.environment(settings), directory, contender.module, cwd=where)
    python = stage.PEERS if stage.PEERS.exists() else Path(sys.executable)
    told = {
        "--bootstrap-servers": settings.kafka_bootstrap_servers,
        "--source": settings.webhooks_topic,
        "--target": settings.operations_topic,
        "--group": settings.transform_group,
    }
    argv = (str(python), "-m", module, *(word for pair in told.items() for word in pair), *contender.arguments)
    return stage.Process(argv, stage.environment(settings), directory, contender.module)


@dataclass(frozen=True, slots=True)
class Seen:
    """From the first look at which there was output until the last: processor time, and how many records came."""

    cpu_s: float
    records: int
    others_percent: float


async def _watch(processes: Sequence[stage.Process], settings: Settings, expected: int) -> Seen:
    """Wait for `expected` records."""

    def cpu_s() -> float:
        return sum(process.cpu_s() for process in processes)

    consumer = AIOKafkaConsumer(
        settings.operations_topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(settings.operations_topic, number)
            for number in consumer.partitions_for_topic(settings.operations_topic)
        ]
        seen, moved, began, before = 0, time.monotonic(), 0.0, 0
        others = Others()
        while seen < expected:
            for process in processes:
                process.check()
            now = sum((await consumer.end_offsets(partitions)).values())
            if now > seen:
                moved = time.monotonic()
                if not before:
                    before, began, others = now, cpu_s(), Others()
                seen = now
            elif time.monotonic() - moved > STILL_S:
                logs = "\n".join(process.log.read_text(errors="replace")[-2000:] for process in processes)
                raise MissingRecordsError(
                    f"{processes[0].name} wrote {seen:,} records of {expected:,}, then none\n{logs}"
                )
            await asyncio.sleep(POLL_S)
        return Seen(cpu_s() - began, seen - before, others.percent())
    finally:
        await consumer.stop()


async def _read_back(settings: Settings) -> Output:
    """Count the output: distinct ids, payments of a customer out of order, customers in several partitions."""
    topic = settings.operations_topic
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    ids: set[bytes] = set()
    last: dict[bytes, int] = {}
    home: dict[bytes, int] = {}
    times: dict[int, int] = {}
    records = reordered = scattered = 0
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        total = sum((await consumer.end_offsets(partitions)).values())
        while records < total:
            for tp, polled in (await consumer.getmany(timeout_ms=1000)).items():
                for record in polled:
                    records += 1
                    ids.add(_id_of(record.headers, record.value))
                    times[record.timestamp] = times.get(record.timestamp, 0) + 1
                    scattered += home.setdefault(record.key, tp.partition) != tp.partition
                    number = _number_of(record.value)
                    if number is not None:
                        reordered += last.get(record.key, -1) > number
                        last[record.key] = number
    finally:
        await consumer.stop()
    first = min(times, default=0)
    return Output(records, len(ids), reordered, scattered, first, times.get(first, 0), max(times, default=0))


def _id_of(headers: Sequence[tuple[str, bytes]], value: bytes) -> bytes:
    for name, text in headers:
        if name == "op-id":
            return text
    operation: Mapping[str, str] = orjson.loads(value)
    return operation["id"].encode()


def _number_of(value: bytes) -> int | None:
    """The number of the payment that the operation is about."""
    at = value.find(FIRST_RECORD)
    return int(value[at + len(FIRST_RECORD) :][:NUMBER_DIGITS]) if at >= 0 else None
