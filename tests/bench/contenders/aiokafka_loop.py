"""aiokafka by hand: `getmany`, `send` for each record, offsets committed once everything of a poll is acknowledged.

The next poll is mapped while the one before is on its way.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.bench.contenders.work import BATCH_BYTES, job, operation_of


async def main() -> None:
    """Run until killed."""
    it = job()
    consumer = AIOKafkaConsumer(
        it.source,
        bootstrap_servers=it.bootstrap_servers,
        group_id=it.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=it.bootstrap_servers, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    await consumer.start()
    await producer.start()
    before: list[asyncio.Future[Any]] = []
    positions: dict[TopicPartition, int] = {}
    while True:
        polled = await consumer.getmany(timeout_ms=1000 if not before else 0)
        sent = []
        for records in polled.values():
            for record in records:
                operation = operation_of(record.value)
                sent.append(await producer.send(it.target, operation.value, operation.key))
        if before:
            await asyncio.gather(*before)
            await consumer.commit(positions)
        before, positions = sent, {tp: records[-1].offset + 1 for tp, records in polled.items()}


if __name__ == "__main__":
    uvloop.run(main())
