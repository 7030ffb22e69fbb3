"""Checks the state of the customers: the number of partitions that it was written with, and the local stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aiokafka.structs import TopicPartition

from pipeline.doctor.findings import Finding
from pipeline.errors import TopicError
from pipeline.kafka.closing import close
from pipeline.kafka.reach import explaining
from pipeline.kafka.readers import new_reader
from pipeline.settings import PREFIX, Settings
from pipeline.statestore.changes import BEGAN
from pipeline.statestore.partition_count import check_written, partitions_now
from pipeline.statestore.partitions import DIRECTORY

LOOKED_AT = 2_000
"""How many records of a partition are read from its start: the one with the number of partitions is written first, and
compaction keeps it near the beginning."""

WAIT_MS = 5_000


async def state(settings: Settings) -> list[Finding]:
    """Findings about the topic of the customers' facts, and about the local stores."""
    if not settings.state:
        text = "off: no totals, and no event that depends on what was there before"
        return [Finding("state", f"{PREFIX}STATE", "ok", text)]
    findings = []
    try:
        partitions = await partitions_now(settings)
    except TopicError as error:
        return [Finding("state", settings.customers_topic, "unknown", str(error)), *_local_stores(settings)]
    began = await _began(settings, partitions)
    if not began:
        text = "nothing was written yet, or not found at its beginning: the first transform begins it"
        findings.append(Finding("state", settings.customers_topic, "unknown", text))
    faults: dict[str, None] = {}
    for value in began.values():
        try:
            check_written(settings, value, partitions)
        except TopicError as error:
            faults[str(error)] = None
    findings += [Finding("state", settings.customers_topic, "fault", text, "as it says") for text in faults]
    if began and not faults:
        text = f"the facts were written under {partitions} partitions, as many as there are"
        findings.append(Finding("state", settings.customers_topic, "ok", text))
    return [*findings, *_local_stores(settings)]


async def _began(settings: Settings, partitions: int) -> dict[int, bytes]:
    """By partition, the first record of its state, where it is found."""
    consumer = new_reader(settings)
    try:
        with explaining(settings):
            await consumer.start()
        found: dict[int, bytes] = {}
        for number in range(partitions):
            tp = TopicPartition(settings.customers_topic, number)
            consumer.assign([tp])
            first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, first)
            while await consumer.position(tp) < min(end, first + LOOKED_AT):
                records = (await consumer.getmany(tp, timeout_ms=WAIT_MS)).get(tp, [])
                for record in records:
                    if record.key == BEGAN and record.value is not None:
                        found[number] = record.value
                if not records:
                    break
        return found
    finally:
        await close(consumer)


def _local_stores(settings: Settings) -> Iterator[Finding]:
    base = settings.data_dir / DIRECTORY / settings.customers_topic
    files = sorted(base.glob("*/data.mdb")) if base.is_dir() else []
    if not files:
        yield Finding(
            "state", str(settings.data_dir), "ok", "no mirrors on this machine: a transform that starts reads all"
        )
        return
    size = sum(_size(path) for path in files)
    text = f"{len(files)} mirrors, {size / 2**20:,.0f} MiB: what a transform that starts here need not read"
    yield Finding("state", str(base), "ok", text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
