"""What lies in a topic, by a client that is not ours."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition


async def values_of(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    """The records of partition 0."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers) as consumer:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        values: list[bytes | None] = []
        while await consumer.position(tp) < end:
            values += [
                record.value for records in (await consumer.getmany(timeout_ms=500)).values() for record in records
            ]
        return values
