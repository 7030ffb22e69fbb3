"""The interface through which the endpoint stores records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from pipeline.kafka.records import OutRecord

STORE_WITHIN_S: Final = 7.0
"""Kafka must confirm within this; then 503, which even a busy machine sends within 10 s. The record may still arrive,
and is then a redelivery with the same id."""


class Stored(NamedTuple):
    """Every in-sync replica has it."""

    seconds: float


class NotStored(NamedTuple):
    """It is not confirmed (and may still arrive); `reason` in words."""

    reason: str


Told = Callable[[Stored | NotStored], None]
"""Called once with what became of a record, on the event loop; perhaps before `put` has returned."""


class Store(Protocol):
    """A durable log."""

    def put(self, topic: str, record: OutRecord, told: Told) -> None:
        """Append durably; returns the result within `STORE_WITHIN_S`, and never raises for a fault of the log."""
