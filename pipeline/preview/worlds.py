"""Decides records twice: as the live transform does, and with the candidate, each with a state of its own in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.kafka.cluster.topic_reader import Span
from pipeline.kafka.records import (
    DODO_COMMAND,
    REPARTITIONED_FROM,
    Headers,
    Record,
    place_in,
    text_header,
    time_ms,
)
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers.shares import SHARE
from pipeline.transform.decision import Decision, decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Decided

MOST_FACTS: Final = 250_000
"""Facts of one state, about 120 MB. If a span writes more, both states begin anew in the middle of it."""


class Facts(MemoryStore):
    """A store without a changelog, that uses no more memory than its facts have bytes."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        super().put(key, _fitted(value))
        self.changelog.clear()

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        super().put_derived(key, _fitted(value))


def _fitted(value: bytes | None) -> bytes | None:
    """A copy of the exact size: a result of orjson with 200 bytes occupies 4,000."""
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
    """The transform under one policy, with a state of its own; at first without one."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.store: Facts | None = None

    def begin(self, store: Facts | None) -> None:
        """Continue with this state; None: without any."""
        self.store = store

    def decide(self, record: Record) -> tuple[Decision, list[Decided]]:
        """The decision about a record, and its verdict with those of the commands that it led to."""
        decision = decide(record, self._policy, map_webhook, self.store)
        verdicts = [decision.verdict]
        for out in decision.commands:
            command = CommandRecord(
                record.topic, record.partition, record.offset, record.timestamp, out.key, out.value, out.headers
            )
            verdicts += self.decide(command)[1]
        return decision, verdicts


class Both:
    """Decides the same records in two worlds.

    Args:
        current: the live policy.
        candidate: the policy that is tried.
        state: makes a new state to begin with; called with the time of the first record (unix milliseconds). None: both
            sides know nothing of customers.
        most_facts: of each state, beyond those with which it begins.
    """

    def __init__(
        self,
        current: Policy,
        candidate: Policy,
        *,
        state: Callable[[int], Facts] | None,
        most_facts: int = MOST_FACTS,
    ) -> None:
        self.current, self.candidate = World(current), World(candidate)
        self.begun_anew = 0
        """How often both began anew, so that their memory stays bounded."""

        self._state = state
        self._bound = self._most_facts = most_facts
        self._began = False

    def decide(self, record: Record) -> tuple[Decision, list[Decided], list[Decided]]:
        """The live decision about a record, and both worlds' verdicts."""
        if not self._began:
            self._begin(record)
        elif max(map(_size, (self.current, self.candidate))) >= self._bound:
            self.begun_anew += 1
            self._begin(record)
        decision, ours = self.current.decide(record)
        return decision, ours, self.candidate.decide(record)[1]

    def _begin(self, record: Record) -> None:
        self._began = True
        if self._state is None:
            return
        at_ms = time_ms(record) or 0
        for world in (self.current, self.candidate):
            world.begin(self._state(at_ms))
        self._bound = _size(self.current) + self._most_facts


def _size(world: World) -> int:
    return 0 if world.store is None else len(world.store)


def is_echo(record: Record, spans: Mapping[int, Span]) -> bool:
    """Whether the worker itself wrote the record, because of another one that is read as well.

    Such are copies of webhooks that were in another partition than their customer's, and the sums that are sent to the
    owner of a person: both worlds derive them from the webhook itself.
    """
    if text_header(record.headers, DODO_COMMAND) == SHARE:
        return True
    place = place_in(record.topic, text_header(record.headers, REPARTITIONED_FROM))
    if place is None:
        return False
    partition, offset = place
    span = spans.get(partition)
    return span is not None and span.start <= offset < span.end
