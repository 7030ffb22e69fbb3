"""The run, with an API and a producer in the hand of the test."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from pipeline.backfill.backfill import Backfill, Order
from pipeline.backfill.journal import Journal
from pipeline.dodo.api import Collection, DodoApi
from pipeline.kafka.records import OutRecord

UNTIL = datetime(2026, 3, 2, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=2)


class Clock:
    """Unix seconds, which pass while the API is asked."""

    now_s = 1_790_000_000.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s


class Api:
    """An API whose every answer takes ten seconds: one page of two subscriptions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def page(
        self,
        collection: Collection,
        *,
        since: datetime,  # noqa: ARG002 - one window
        until: datetime,  # noqa: ARG002 - one window
        number: int,
    ) -> list[dict[str, Any]]:
        """As `DodoApi`."""
        self._clock.now_s += 10
        if collection != "subscriptions" or number:
            return []
        created_at = (UNTIL - timedelta(hours=1)).isoformat()
        return [
            {"subscription_id": f"sub_{n}", "created_at": created_at, "customer": {"customer_id": f"cus_{n}"}}
            for n in range(2)
        ]


class Topic:
    """A producer that keeps what it is given, and a chunk of its own."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []

    def partition_for(self, topic: str, key: bytes | None) -> int:  # noqa: ARG002 - one partition
        """One partition."""
        return 0

    def chunk(self) -> Topic:
        """Itself."""
        return self

    def append(self, topic: str, partition: int, record: OutRecord) -> None:  # noqa: ARG002 - one partition
        """Keep it."""
        self.records.append(record)

    def send(self) -> Awaitable[None]:
        """Durable at once."""

        async def done() -> None:
            """Nothing to wait for."""

        return done()


async def test_moment_of_a_state() -> None:
    """An object shows the moment before it was asked for: what a webhook tells in between is newer."""
    clock, topic = Clock(), Topic()
    journal = Journal.open(None, {}, UNTIL)
    order = Order(SINCE, ("payments", "subscriptions"), emit_identify=True)
    begun_s = clock.now_s
    try:
        await Backfill(order, cast("DodoApi", Api(clock)), journal, "webhooks", topic, clock=clock).run()
    finally:
        journal.close(complete=True)
    values = [orjson.loads(record.value or b"") for record in topic.records]
    assert [(value["object"], value["read_at"] - begun_s) for value in values] == [
        ("subscription", 10),
        ("subscription", 10),
        ("customer", 30),
        ("customer", 30),
    ]
