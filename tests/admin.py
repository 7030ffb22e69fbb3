"""aiokafka's own admin client, for what the tests do to a cluster and the product never does; and a group's offsets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.security import client_options
from pipeline.settings import Settings
from tests.workers import PATIENCE_S, POLL_S

WITHIN_S = 60.0


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected client, once the cluster has a controller and the client knows it.

    For a moment after a broker's start metadata names no controller, and the client would look for its node id
    (`'NoneType' object has no attribute 'nodeId'`).
    """
    async with open_admin(settings, connect_within_s=WITHIN_S) as admin:
        await admin.ready()
    client = AIOKafkaAdminClient(**client_options(settings))
    try:
        await client.start()
        async with asyncio.timeout(WITHIN_S):
            while client._client.cluster.controller is None:
                await asyncio.sleep(POLL_S)
                await client._client.force_metadata_update()
        yield client
    finally:
        await client.close()


async def committed(admin: Admin, group: str, topic: str) -> dict[int, int]:
    """The group's offset of each partition of the topic in which it has one, by whichever broker coordinates it now."""
    ((partitions, _),) = (await admin.partitions([topic])).values()
    found = await admin.committed(group, [TopicPartition(topic, number) for number in range(partitions)])
    return {tp.partition: offset for tp, offset in found.items() if offset is not None}


async def until_done(
    settings: Settings,
    group: str,
    topic: str,
    *alive: Callable[[], None],
    offsets: Mapping[int, int] | None = None,
) -> None:
    """Wait until the group has committed these offsets of the topic, by partition, or all that lies in it by then.

    Stages append to the webhooks' topic too. Each of `alive` fails when there is nobody to wait for.
    """
    found: Mapping[int, int] = {}
    wanted = offsets or {}
    async with open_admin(settings) as admin, AIOKafkaConsumer(**client_options(settings)) as consumer:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    found = await committed(admin, group, topic)
                    wanted = await _ends(admin, consumer, topic) if offsets is None else offsets
                    if all(found.get(partition) == offset for partition, offset in wanted.items()):
                        return
                    for one in alive:
                        one()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"{group} has committed {found} of {wanted} in {topic}") from None


async def _ends(admin: Admin, consumer: AIOKafkaConsumer, topic: str) -> dict[int, int]:
    ((partitions, _),) = (await admin.partitions([topic])).values()
    ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(partitions)])
    return {tp.partition: end for tp, end in ends.items() if end}
