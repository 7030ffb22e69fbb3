"""The facts of a few customers or people as they lie in the customers' topic now, for whoever asks what would follow.

They are read from their owners' partitions alone. There is no way to them but through all facts of such a partition;
only theirs are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import TopicError
from pipeline.kafka.cluster.topics import check_topics
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.settings import Settings
from pipeline.statestore.changelog import Piece
from pipeline.statestore.changes import BEGAN, Change, collapse
from pipeline.statestore.partition_count import REPARTITION, began_fact
from pipeline.statestore.store import MemoryStore
from pipeline.statestore.validation import sift
from pipeline.transform.customers.facts import NUL
from pipeline.transform.customers.reading import Told, nobody, read_partitions
from pipeline.transform.customers.schema import CUSTOMERS


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """What is known of them.

    Attributes:
        partitions: how many the topic has.
        values: the facts by their keys.
        began_at_ms: when the state of these partitions began, the latest of them; None: none has begun.
    """

    partitions: int
    values: dict[bytes, bytes]
    began_at_ms: int | None

    def count(self, group: bytes) -> int:
        """How many facts there are of one of them."""
        return sum(key.startswith(group + NUL) for key in self.values)

    def owner(self, group: bytes) -> int:
        """The partition of one of them."""
        return partition_of(group, self.partitions)

    def store(self, began_at_ms: int) -> MemoryStore:
        """A state of its own that begins with them; `began_at_ms` for partitions that have not begun."""
        store = MemoryStore(began_at_ms if self.began_at_ms is None else self.began_at_ms)
        for key, value in self.values.items():
            store.put(key, value)
        store.changelog.clear()
        return store

    def joined(self, other: KnownFacts) -> KnownFacts:
        """Both."""
        began = [ms for ms in (self.began_at_ms, other.began_at_ms) if ms is not None]
        return KnownFacts(self.partitions, self.values | other.values, max(began, default=None))


async def read_facts(settings: Settings, groups: Iterable[bytes], told: Told = nobody) -> KnownFacts:
    """The facts of `groups`, the customers' parts or the people's parts of keys.

    Raises:
        TopicError: the topic is missing, may not be read, holds facts of a newer version, or its facts were written
            under another number of partitions, so that they lie elsewhere.
        BrokerUnreachableError: no broker answered.
    """
    topic = settings.customers_topic
    partitions = (await check_topics(settings, [topic]))[topic]
    owners = {group: partition_of(group, partitions) for group in groups}
    heard: list[Change] = []
    began: dict[int, bytes] = {}

    def hear(piece: Piece) -> None:
        chosen = []
        for change, offset in zip(piece.changes, piece.offsets, strict=True):
            key: bytes | None = change[0]
            if key is not None and (key == BEGAN or owners.get(CUSTOMERS.group_of(key)) == piece.partition):
                chosen.append((change, offset))
        sifted = sift([change for change, _ in chosen], [offset for _, offset in chosen], CUSTOMERS)
        heard.extend(sifted.changes)
        if sifted.began is not None:
            began[piece.partition] = sifted.began.value

    if owners:
        await read_partitions(settings, owners.values(), hear, told)
    times = [_began_at_ms(settings, value, partitions) for value in began.values()]
    news = collapse(heard, CUSTOMERS.merge)
    values = {key: one.value for key, one in news.items() if one.value is not None}
    return KnownFacts(partitions, values, max((ms for ms in times if ms is not None), default=None))


def _began_at_ms(settings: Settings, value: bytes, partitions: int) -> int | None:
    at_ms, _, written = began_fact(value)
    if written != partitions:
        under = "are on their way to other partitions" if written == 0 else f"were written under {written}"
        raise TopicError(
            f"topic {settings.customers_topic} has {partitions} partitions, and its facts {under}: a customer's may "
            f"lie elsewhere than at their owner. No transform starts under that either; {REPARTITION} moves them"
        )
    return at_ms
