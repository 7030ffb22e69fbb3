"""What was known of the span's customers before it: their facts of now, without those that the span itself tells.

By the facts of now everything that was read has been told, so that neither side would tell it again. So the span is
decided once over an empty state, only to learn which facts it writes; from the copy of the customers' topic those are
left out, and both sides write them anew. What the topic no longer has is gone: of a fact that the span writes, what it
was before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pipeline.kafka.records import Record
from pipeline.preview.worlds import MOST_FACTS, Facts, World
from pipeline.settings import Settings
from pipeline.transform.customers.known_facts import read_facts
from pipeline.transform.customers.reading import Told, nobody
from pipeline.transform.customers.schema import CUSTOMERS
from pipeline.transform.policy import Policy

MOST_GROUPS: Final = 20_000
"""Customers and people whose past is looked up: with some ten facts each, about 100 MB."""


@dataclass(frozen=True, slots=True)
class Past:
    """What both sides begin with.

    Attributes:
        values: facts by their keys.
        began_at_ms: when the state began, unix milliseconds; None: with the first record of the span.
        known: how many customers and people of the span there were before it.
        complete: whether all of them were looked up; those beyond `MOST_GROUPS` begin unknown.
    """

    values: Mapping[bytes, bytes] = field(default_factory=lambda: MappingProxyType({}))
    began_at_ms: int | None = None
    known: int = 0
    complete: bool = True

    def store(self, at_ms: int) -> Facts:
        """A state of one's own that begins with it, at `at_ms` (unix milliseconds) if it never began."""
        store = Facts(at_ms if self.began_at_ms is None else self.began_at_ms)
        for key in sorted(self.values):
            store.put(key, self.values[key])
        return store


class Footprint:
    """Which facts the span writes, and whose they are.

    Args:
        policy: as it is live.
        most_groups: whose facts are noted.
    """

    def __init__(self, policy: Policy, *, most_groups: int = MOST_GROUPS) -> None:
        self.keys: set[bytes] = set()
        self.groups: set[bytes] = set()
        """Customers and people."""

        self.complete = True
        self._most_groups = most_groups
        self._world = World(policy)

    def add(self, record: Record) -> None:
        """One more record of it, in its order."""
        if self._world.store is None or len(self._world.store) >= MOST_FACTS:
            self._world.begin(_Noting(self._note))
        self._world.decide(record)

    def _note(self, key: bytes) -> None:
        group = CUSTOMERS.group_of(key)
        if group not in self.groups:
            if len(self.groups) >= self._most_groups:
                self.complete = False
                return
            self.groups.add(group)
        self.keys.add(key)


class _Noting(Facts):
    """Facts whose keys are heard as they are written."""

    def __init__(self, note: Callable[[bytes], None]) -> None:
        super().__init__()
        self._note = note

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        self._note(key)
        super().put(key, value)


async def past_of(settings: Settings, footprint: Footprint, told: Told = nobody) -> Past:
    """What the customers' topic knew before the span.

    Raises:
        TopicError, BrokerUnreachableError: see `read_facts`.
    """
    facts = await read_facts(settings, sorted(footprint.groups), told)
    values = {key: value for key, value in facts.values.items() if key not in footprint.keys}
    known = len({CUSTOMERS.group_of(key) for key in values})
    return Past(values, facts.began_at_ms, known, footprint.complete)
