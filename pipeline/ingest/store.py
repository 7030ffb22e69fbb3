"""Where records go, as the endpoint sees it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pipeline.kafka.records import OutRecord


class Stored(NamedTuple):
    """Every in-sync replica has it."""

    seconds: float


class NotStored(NamedTuple):
    """It is not confirmed (and may still arrive); `reason` in words."""

    reason: str


class Store(Protocol):
    """A durable log."""

    async def store(self, topic: str, record: OutRecord, within_s: float) -> Stored | NotStored:
        """Append durably; answers within `within_s`, and never raises for a fault of the log."""
