"""The last check before a batch is sent: none while this process may not write, and none once the producer is given up.

aiokafka keeps batches for as long as it takes and sends them again and again. A process that was frozen, or could not
reach a leader while its partitions went to another, would write them behind what their next owner has written since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.produce import ProduceRequest

from pipeline.kafka.closing import close_unflushed

LOOK_S: Final = 0.1
"""How often a request that may not leave at the moment is looked at again."""


class WriteGate:
    """Stands before the produce requests of one `AIOKafkaProducer` that is not started yet.

    Args:
        producer: whose.
        may_write: whether records may leave this process now; no does not mean never.
    """

    def __init__(self, producer: Any, may_write: Callable[[], bool]) -> None:
        self._producer = producer
        self._client = producer.client
        self._may_write = may_write
        self._is_cut = False
        self._send: Callable[..., Any] = self._client.send
        self._client.send = self.send

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """As the client's own; a produce request waits until it may leave.

        Raises:
            NodeNotReadyError: there is no connection, or the producer was given up.
        """
        if not isinstance(request, ProduceRequest):
            return await self._send(node_id, request, **options)
        # A connection comes first: from the question to the bytes nothing awaits then (pinned).
        while await self._client.ready(node_id, **options) and not self._is_cut:
            if self._may_write():
                return await self._send(node_id, request, **options)
            await asyncio.sleep(LOOK_S)
        raise NodeNotReadyError(f"node {node_id} is not ready, or the producer was given up")

    def cut(self) -> None:
        """From now on nothing leaves. Requests that did leave may still be stored."""
        self._is_cut = True

    async def close(self) -> None:
        """Cut, then end the producer without its flush."""
        self.cut()
        await close_unflushed(self._producer)
