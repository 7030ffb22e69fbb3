"""What the flow asks of others: where records go, where facts lie, who a stranger is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.kafka.records import Record
from pipeline.transform.landing import Gate, Outgoing
from pipeline.transform.state.mirrored_shelf import MirroredShelf
from pipeline.transform.state.shelf import Shelf


class Producer(Protocol):
    """Where records go (`kafka.producer.BatchProducer`)."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """The partition that Java's default partitioner gives to `key`; keyless records take turns."""

    def chunk(self) -> Outgoing:
        """A new, empty chunk."""


class Shelves(Protocol):
    """The facts of the partitions that are ours (`state.store.Store`)."""

    def shelf(self, partition: int) -> MirroredShelf:
        """The facts of one partition, restored."""

    def keep(self, partitions: Collection[int]) -> None:
        """These are ours; let go of all others."""

    async def read_gap(self, partition: int, shelf: MirroredShelf) -> None:
        """Take in what lies between our facts in the changelog."""


class Introductions(Protocol):
    """Who customers are whom a webhook names by id alone (`introductions.Introductions`)."""

    def stranger(self, record: Record, shelf: Shelf) -> str | None:
        """The id of the customer to ask for; None, as for most records, when there is nobody."""

    async def ask(self, customer_id: str) -> Mapping[str, Any] | None:
        """What is known of the customer elsewhere, within seconds."""

    def introduce(self, found: Mapping[str, Any], customer_id: str, shelf: Shelf) -> None:
        """Put it onto the shelf."""


@dataclass(frozen=True, slots=True)
class State:
    """What the flow needs to keep the customers' state."""

    shelves: Shelves
    topic: str
    """The customers' topic; the customers of partition n of the webhooks have their facts in partition n."""

    gate: Gate
