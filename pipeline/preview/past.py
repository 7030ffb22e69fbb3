"""What was known of the span's customers before it: their present facts, without those that the span itself writes.

By the present facts everything in the span was sent already, so neither side would send it again. So the span is
decided once with an empty state, only to find out which facts it writes; these are left out of the copy of the
customers' topic, and both sides write them anew. If the span overwrites a fact, its former value is lost: the topic no
longer has it.
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
"""How many customers and people are looked up: with about ten facts each, that is about 100 MB."""


@dataclass(frozen=True, slots=True)
class Past:
    """The facts that both sides begin with.

    Attributes:
        values: facts by their keys.
        began_at_ms: when the state began, unix milliseconds; None: with the first record of the span.
        known: how many customers and people of the span had facts before it.
        complete: whether all of them were looked up; those beyond `MOST_GROUPS` begin without facts.
    """

    values: Mapping[bytes, bytes] = field(default_factory=lambda: MappingProxyType({}))
    began_at_ms: int | None = None
    known: int = 0
    complete: bool = True

    def store(self, at_ms: int) -> Facts:
        """A new store with these facts; if `began_at_ms` is None, its state begins at `at_ms` (unix milliseconds)."""
        store = Facts(at_ms if self.began_at_ms is None else self.began_at_ms)
        for key in sorted(self.values):
            store.put(key, self.values[key])
        return store


class Footprint:
    """Collects the keys of the facts that the span writes, and the customers and people that they belong to.

    Args:
        policy: the live one.
        most_groups: how many customers and people are noted at most.
    """

    def __init__(self, policy: Policy, *, most_groups: int = MOST_GROUPS) -> None:
        self.keys: set[bytes] = set()
        self.groups: set[bytes] = set()
        """The customers and people that the facts belong to."""

        self.complete = True
        self._most_groups = most_groups
        self._world = World(policy)

    def add(self, record: Record) -> None:
        """Decide the next record of the span."""
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
    """A store that passes each key that is written to `note`."""

    def __init__(self, note: Callable[[bytes], None]) -> None:
        super().__init__()
        self._note = note

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        self._note(key)
        super().put(key, value)


async def past_of(settings: Settings, footprint: Footprint, told: Told = nobody) -> Past:
    """The facts of the customers' topic, without those that the span writes.

    Raises:
        TopicError, BrokerUnreachableError: see `read_facts`.
    """
    facts = await read_facts(settings, sorted(footprint.groups), told)
    values = {key: value for key, value in facts.values.items() if key not in footprint.keys}
    known = len({CUSTOMERS.group_of(key) for key in values})
    return Past(values, facts.began_at_ms, known, footprint.complete)
