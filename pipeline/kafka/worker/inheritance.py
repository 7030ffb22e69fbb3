"""What a former owner noted as done beyond its offset, compared with the log before it is used.

Asked for at the begin of an assignment, and as a rule there is nothing to ask: only an owner that ended without a
hand-over leaves any. Whatever cannot be compared at once is not believed. That costs repeats, as if nothing had been
left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from pipeline import logs
from pipeline.errors import PipelineError
from pipeline.kafka.closing import close
from pipeline.kafka.readers import new_reader
from pipeline.kafka.records import Record
from pipeline.kafka.worker.done_ahead import DoneAhead, digest_of
from pipeline.settings import Settings

WITHIN_S: Final = 5.0
"""For one record of each partition. Nothing flows meanwhile."""

POLL_MS: Final = 200

log = logs.get(__name__)


async def trusted(settings: Settings, ahead: Mapping[TP, DoneAhead]) -> dict[TP, DoneAhead]:
    """Those whose witness still lies at its offset."""
    found: dict[TP, DoneAhead] = {}
    reason = "the record that it ends with is gone, or another one"
    try:
        async with asyncio.timeout(WITHIN_S):
            consumer = new_reader(settings)
            try:
                await consumer.start()
                await _compare(consumer, ahead, found)
            finally:
                await close(consumer)
    except (TimeoutError, KafkaError, OSError, PipelineError) as error:
        reason = str(error) or "no answer in time"
    for tp in sorted(ahead.keys() - found.keys()):
        log.warning(
            "What was done beyond the committed offset is done again: it could not be compared with the log",
            topic=tp.topic, partition=tp.partition, committed_offset=ahead[tp].base, records=ahead[tp].count,
            reason=reason,
        )  # fmt: skip
    return found


async def _compare(consumer: AIOKafkaConsumer, ahead: Mapping[TP, DoneAhead], found: dict[TP, DoneAhead]) -> None:
    wanted = {TopicPartition(tp.topic, tp.partition): one for tp, one in ahead.items()}
    ends = await consumer.end_offsets(list(wanted))
    waiting = {tp: one for tp, one in wanted.items() if one.witness.offset < ends[tp]}
    consumer.assign(list(waiting))
    for tp, one in waiting.items():
        consumer.seek(tp, one.witness.offset)
    while waiting:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=POLL_MS)).items():
            one = waiting.pop(tp)
            if is_witness(records[0], one):
                found[TP(tp.topic, tp.partition)] = one


def is_witness(record: Record, ahead: DoneAhead) -> bool:
    """Whether `record` is the one that was read last when `ahead` was written."""
    return record.offset == ahead.witness.offset and digest_of(record) == ahead.witness.digest
