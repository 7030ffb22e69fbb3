"""The one fake of a consumed record, for all tests that need no broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Consumed:
    """A record as a consumer hands it out (`pipeline.kafka.records.Record`)."""

    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    topic: str = "dodo.webhooks"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
