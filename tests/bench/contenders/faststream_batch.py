"""FastStream on aiokafka: a batch subscriber, and one published batch for each partition.

`publish_batch` puts a batch into one partition whatever its keys say, so a batch is made for each: source and target
have the same partitions and keys, so the record's own is the right one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaPublishMessage

from tests.bench.contenders.work import job, operation_of

MAX_BATCH_BYTES = 1_000_000
"""Beneath the broker's limit: a published batch that does not fit is an error."""

MAX_RECORDS = 2_000
"""The more the better, since a batch is mapped only after the one before was acknowledged; all of one partition fit."""


async def main() -> None:
    """Run until killed."""
    it = job()
    broker = KafkaBroker(
        it.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_BATCH_BYTES,
        apply_types=False,
        logger=None,
    )

    async def raw(message: Any) -> list[tuple[int, bytes]]:
        return [(record.partition, record.value) for record in message.raw_message]

    @broker.subscriber(
        it.source,
        group_id=it.group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=MAX_RECORDS,
        decoder=raw,
        ack_policy=AckPolicy.ACK,
    )
    async def transform(records: list[tuple[int, bytes]]) -> None:
        outgoing = defaultdict(list)
        for partition, body in records:
            operation = operation_of(body)
            outgoing[partition].append(KafkaPublishMessage(operation.value, key=operation.key))
        await asyncio.gather(
            *(
                broker.publish_batch(*messages, topic=it.target, partition=partition)
                for partition, messages in outgoing.items()
            )
        )

    await FastStream(broker, logger=None).run(log_level=logging.WARNING)


if __name__ == "__main__":
    uvloop.run(main())
