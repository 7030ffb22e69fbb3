"""A stand-in for aiokafka's `send_batch`, and chunks for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from pipeline.kafka.events import ProducerEvent
from pipeline.kafka.producer.outgoing import OutgoingChunk
from pipeline.kafka.producer.outlet import Outlet
from pipeline.kafka.records import OutRecord


@dataclass
class Broker:
    """Takes batches as aiokafka does: a future each, which the test decides."""

    timeouts: int = 0
    taken: list[tuple[TP, Any]] = field(default_factory=list)
    futures: list[asyncio.Future[Any]] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    outlets: dict[TP, Outlet] = field(default_factory=dict)
    events: list[ProducerEvent] = field(default_factory=list)
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_batch(self, builder: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """A place in the queue, or a time-out."""
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        if self.timeouts:
            self.timeouts -= 1
            raise KafkaTimeoutError
        self.taken.append((TP(topic, partition), builder))
        self.futures.append(asyncio.get_running_loop().create_future())
        self.progress.set()
        return self.futures[-1]

    def outlet(self, topic: str, partition: int) -> Outlet:
        """The partition's outlet."""
        tp = TP(topic, partition)
        return self.outlets.setdefault(tp, Outlet(tp, self.send_batch, self.events.append))

    def chunk(self, batch_bytes: int = 1000, limit: int = 2000) -> OutgoingChunk:
        """An empty chunk."""
        return OutgoingChunk(lambda: BatchBuilder(batch_bytes, 0), self.outlet, {"a": limit})

    def stored(self, offset: int) -> Any:
        """The broker's answer."""
        return SimpleNamespace(offset=offset, timestamp=1_800_000_000_000, timestamp_type=1)

    async def has_taken(self, batches: int) -> None:
        """Wait until it took so many."""
        while len(self.taken) < batches:
            self.progress.clear()
            await self.progress.wait()


def record(size: int = 10) -> OutRecord:
    """A record with a value of `size` bytes."""
    return OutRecord(b"k", b"v" * size, (("h", b"1"),))
