"""The protocol of the batch producer for those who send, so that their decisions can be tested without a broker."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from pipeline.kafka.records import OutRecord


class Outgoing(Protocol):
    """Records that go out together (`kafka.producer.outgoing.OutgoingChunk`)."""

    def append(self, topic: str, partition: int, record: OutRecord) -> None:
        """Add one record behind the others of its partition."""

    def send(self) -> Awaitable[None]:
        """Hand them over in the order of calls; done when every one is durable."""


class Producer(Protocol):
    """Where records go (`kafka.producer.BatchProducer`, primed with all topics)."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """The partition that Java's default partitioner gives to `key`; keyless records take turns."""

    def chunk(self) -> Outgoing:
        """A new, empty chunk."""
