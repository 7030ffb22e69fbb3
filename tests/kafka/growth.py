"""Topics that get partitions, and brokers that all tell it: right after the request one may answer the old number."""

from __future__ import annotations

import asyncio

from pipeline.kafka.cluster.admin import open_admin
from pipeline.settings import Settings

WITHIN_S = 300.0


async def grow(settings: Settings, partitions: int, *topics: str) -> None:
    """Give these topics so many partitions, by somebody else's tool, and wait until a client finds them."""
    async with open_admin(settings) as admin:
        for topic in topics:
            await admin.add_partitions(topic, partitions)
    for topic in topics:
        await has_grown(settings, partitions, topic)


async def has_grown(settings: Settings, partitions: int, topic: str) -> None:
    """Wait until a client that starts now finds so many."""
    async with open_admin(settings) as admin, asyncio.timeout(WITHIN_S):
        while await admin.partitions_everywhere(topic) < partitions:  # noqa: ASYNC110 - only the brokers know it
            await asyncio.sleep(0.05)
