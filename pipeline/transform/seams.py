"""What the flow asks of others: where records go, where facts lie, who a stranger is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from pipeline.statestore.store import KeyValueStore
from pipeline.statestore.transaction import TransactionalStore
from pipeline.transform.commits import Membership, Outgoing
from pipeline.transform.resolver import Asking, Found
from pipeline.transform.webhook import Reading


class Producer(Protocol):
    """Where records go (`kafka.producer.BatchProducer`)."""

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """The partition that Java's default partitioner gives to `key`; keyless records take turns."""

    def chunk(self) -> Outgoing:
        """A new, empty chunk."""

    def abandon(self) -> None:
        """Give up what is not known to be durable: it fails, and none of it leaves this process any more."""


class Stores(Protocol):
    """The state stores of the partitions that are ours (`statestore.partitions.PartitionStores`)."""

    def store(self, partition: int) -> TransactionalStore:
        """The store of one partition, restored."""

    def keep(self, partitions: Collection[int]) -> None:
        """These are ours; let go of all others."""

    async def read_gap(self, partition: int, store: TransactionalStore) -> None:
        """Take in what lies between our facts in the changelog."""


class Enrichment(Protocol):
    """Who customers are whom a webhook names by id alone (`introductions.Introductions`)."""

    def stranger(self, reading: Reading, store: KeyValueStore) -> str | None:
        """The id of the customer to ask for; None, as for most records, when there is nobody."""

    def ask(self, customer_id: str, *, waits: bool) -> Found | Asking | None:
        """What is known of the customer elsewhere; a question to wait for, if the caller `waits`; None: nothing."""

    def introduce(self, found: Found, customer_id: str, store: KeyValueStore) -> None:
        """Put it into the store."""


class Lookups(Protocol):
    """Names of products that nobody has asked for yet (`product_lookups.ProductLookups`)."""

    def missing(self, reading: Reading, *, waits: bool) -> asyncio.Future[None] | None:
        """What to wait for before the webhook is decided, if the caller `waits`; None, as nearly always: go on."""


@dataclass(frozen=True, slots=True)
class State:
    """What the flow needs to keep the customers' state."""

    stores: Stores
    topic: str
    """The customers' topic; the customers of partition n of the webhooks have their facts in partition n."""

    gate: Membership
