"""Two workers side by side: one as it is live, one with the candidate, each with a state of its own in memory.

The state begins empty with the first record that is read. The facts of `dodo.customers` would not do: they are those of
now, in which everything that was read has been told already, so that nothing would be told again by either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.records import DODO_COMMAND, REPARTITIONED_FROM, Headers, Record, text_header, time_ms
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.shares import SHARE
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Decided

MOST_FACTS: Final = 250_000
"""Of one state, about 120 MB. A span that has more of them is decided with states that begin anew in the middle."""


class Facts(MemoryStore):
    """A store whose changelog nobody reads, and that holds no more memory than its facts have bytes."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        super().put(key, _fitted(value))
        self.changelog.clear()

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        super().put_derived(key, _fitted(value))


def _fitted(value: bytes | None) -> bytes | None:
    """A copy without spare room: orjson's own results of 200 bytes hold 4,000."""
    return None if value is None else bytes(memoryview(value))


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command as a worker would read it from the topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class World:
    """The transform under one policy.

    Args:
        policy: what decides.
        state: whether customers are known.
    """

    def __init__(self, policy: Policy, *, state: bool) -> None:
        self._policy, self._state = policy, state
        self._store: Facts | None = None

    @property
    def facts(self) -> int:
        """How many the state holds."""
        return 0 if self._store is None else len(self._store)

    def begin(self, at_ms: int) -> None:
        """Know nobody, since `at_ms` (unix milliseconds)."""
        self._store = Facts(at_ms) if self._state else None

    def decide(self, record: Record) -> tuple[Decision, list[Decided]]:
        """The decision about a record, and its verdict with those of the commands that it led to."""
        decision = decide(record, self._policy, map_webhook, self._store)
        verdicts = [decision.verdict]
        for out in decision.commands:
            command = CommandRecord(
                record.topic, record.partition, record.offset, record.timestamp, out.key, out.value, out.headers
            )
            verdicts += self.decide(command)[1]
        return decision, verdicts


class Both:
    """The same records through two worlds.

    Args:
        current: as it is live.
        candidate: as it would be.
        state: whether customers are known.
        most_facts: of each state.
    """

    def __init__(self, current: Policy, candidate: Policy, *, state: bool, most_facts: int = MOST_FACTS) -> None:
        self.current, self.candidate = World(current, state=state), World(candidate, state=state)
        self.begun_anew = 0
        """How often both forgot everybody, so that memory holds."""

        self._most_facts = most_facts
        self._began = False

    def decide(self, record: Record) -> tuple[Decision, list[Decided], list[Decided]]:
        """The live decision about a record, and both worlds' verdicts."""
        if not self._began:
            self._begin(record)
        elif max(self.current.facts, self.candidate.facts) >= self._most_facts:
            self.begun_anew += 1
            self._begin(record)
        decision, ours = self.current.decide(record)
        return decision, ours, self.candidate.decide(record)[1]

    def _begin(self, record: Record) -> None:
        self._began = True
        at_ms = time_ms(record) or 0
        self.current.begin(at_ms)
        self.candidate.begin(at_ms)


def is_echo(record: Record, spans: Mapping[int, Span]) -> bool:
    """Whether the worker itself wrote the record, because of another one that is read as well.

    Copies of webhooks that lay in another partition than their customer's, and what owners of people were told: both
    worlds conclude them from the webhook itself.
    """
    if text_header(record.headers, DODO_COMMAND) == SHARE:
        return True
    topic, _, place = (text_header(record.headers, REPARTITIONED_FROM) or "").partition("/")
    partition, _, offset = place.partition("/")
    if topic != record.topic or not (partition.isascii() and partition.isdigit() and offset.isascii()):
        return False
    span = spans.get(int(partition)) if offset.isdigit() else None
    return span is not None and span.start <= int(offset) < span.end
