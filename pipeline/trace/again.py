"""Decides a webhook again: once as if nothing were known of the customer, once after the customer's earlier webhooks.

Why a webhook caused nothing, or less than others of its type, is not written down anywhere: drops are most of some
shops' traffic. So the same function decides again, over the customer's webhooks in the span that was read. What the
state knew from before that span is not known here, so the result is a conclusion, and may differ from what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import ConfigurationError
from pipeline.kafka.records import Record
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, Operations, SentOn


class Again(NamedTuple):
    """Two verdicts about one record: by the mapping alone, and after the customer's other webhooks."""

    alone: Decided
    after: Decided


class Decider:
    """Decides with the settings of this deployment; without them (a file that is gone) it returns None."""

    def __init__(self, settings: Settings) -> None:
        self._state = settings.state
        self.fault: str | None = None
        try:
            self._policy: Policy | None = Policy.of(settings)
        except ConfigurationError as error:  # a file of names that is gone, rules that are wrong
            self._policy = None
            self.fault = f"what is dropped cannot be explained with these settings: {error}"

    def decide(self, record: Record, before: Sequence[Record]) -> Again | None:
        """The verdicts about `record`; `before` are its customer's records in the order of their partition."""
        policy = self._policy
        if policy is None:
            return None
        alone = decide(record, policy, map_webhook).verdict
        if not self._state:
            return Again(alone, alone)
        store = MemoryStore()
        for other in before:
            if (other.partition, other.offset) == (record.partition, record.offset):
                break
            decide(other, policy, map_webhook, store)
        return Again(alone, decide(record, policy, map_webhook, store).verdict)


def said(verdict: Decided) -> str:
    """A verdict in a few words, for people."""
    match verdict:
        case Dropped(reason=code, text=text):
            return f"{code}: {text}"
        case DeadLettered(class_=class_, reason=reason):
            return f"{class_}: {reason}"
        case SentOn(partition=partition):
            return f"sent on to partition {partition}, its customer's"
        case Operations(operations=operations):
            return ", ".join(one.kind if one.name is None else f"{one.kind} {one.name}" for one in operations)


def is_shaped(verdict: Decided) -> bool:
    """Whether rules or code of the user's own left out a part of what the mapping would send, or all of it."""
    return isinstance(verdict, Operations) and "shaped-away" in verdict.notes


def events_of(verdict: Decided) -> frozenset[str]:
    """Names of the events that a verdict sends."""
    if not isinstance(verdict, Operations):
        return frozenset()
    return frozenset(one.name for one in verdict.operations if one.name is not None)
