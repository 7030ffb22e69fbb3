"""Hand-overs while Dodo is asked who a customer is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, cast

from pipeline.kafka.batches import RecordBatch
from pipeline.kafka.records import Record
from pipeline.transform.decision import Decision
from pipeline.transform.flow import Flow
from pipeline.transform.landing import Gate
from pipeline.transform.seams import Producer, State
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.shelf import MemoryShelf, Shelf
from pipeline.transform.verdicts import Dropped


class Consumed:
    """A record as a consumer hands it out."""

    offset, value, key, headers, topic, partition, timestamp = 0, b"licence", b"cus_1", (), "webhooks", 0, 1


class Facts(MemoryShelf):
    """A partition's facts, and the partitions."""

    has_gap = False

    def shelf(self, partition: int) -> MirroredShelf:
        """One for all."""
        assert partition == 0
        return cast("MirroredShelf", self)

    def keep(self, partitions: Collection[int]) -> None:  # type: ignore[override]
        """Nothing to close."""

    async def read_gap(self, partition: int, shelf: MirroredShelf) -> None:
        """There is none."""


class Slow:
    """Introductions whose answer is a matter of the test."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[Mapping[str, Any] | None] = asyncio.get_running_loop().create_future()
        self.introduced = 0

    def stranger(self, record: Record, shelf: Shelf) -> str | None:  # noqa: ARG002 - everybody is one
        """Everybody."""
        return "cus_1"

    async def ask(self, customer_id: str) -> Mapping[str, Any] | None:  # noqa: ARG002 - there is one
        """Wait for the test."""
        self.asked.set()
        return await self.answer

    def introduce(self, found: Mapping[str, Any], customer_id: str, shelf: Shelf) -> None:  # noqa: ARG002 - counted
        """Count."""
        self.introduced += 1


class Silent:
    """A producer that nothing reaches."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """None is asked for."""
        raise AssertionError((topic, key))

    def chunk(self) -> Any:
        """Nothing is put into it."""
        return object()


async def test_hand_over_while_asking() -> None:
    """A partition that goes while an answer is awaited takes nothing with it: no fact, no decision, no record."""
    decided: list[Record] = []

    def decide(record: Record, _: Shelf | None) -> Decision:
        decided.append(record)
        return Decision(Dropped("payout", ""), None, "m")

    slow = Slow()
    flow = Flow(
        decide,
        cast("Producer", Silent()),
        operations_topic="operations",
        dead_letters_topic="dead-letters",
        observe=lambda _: None,
        fail=lambda _: None,
        state=State(Facts(), "customers", cast("Gate", object())),
        introductions=slow,
    )
    flow.resume(1, frozenset())
    acknowledged: list[int] = []
    batch = RecordBatch.of("webhooks", 0, [cast("Record", Consumed())], 1, acknowledged.append)
    taking = asyncio.ensure_future(flow.take(batch))
    await slow.asked.wait()
    flow.begin()
    await flow.drained()
    flow.resume(2, frozenset())
    slow.answer.set_result({"customer_id": "cus_1", "email": "ann@example.com"})
    await taking
    assert (slow.introduced, decided, acknowledged, flow.in_flight) == (0, [], [], 0)
