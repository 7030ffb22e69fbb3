"""aiokafka's own admin client, for what the tests do to a cluster and the product never does; and a group's offsets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from pipeline.kafka.cluster.admin import Admin, open_admin
from pipeline.kafka.security import client_options
from pipeline.settings import Settings

WITHIN_S = 60.0
POLL_S = 0.05


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
