"""Counts the differences, in bounded memory however much is read and whatever names the candidate makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.deadletters.masking import private_in
from pipeline.dodo.catalogue import TYPES
from pipeline.kafka.records import Record, source_of
from pipeline.transform.decision import Decision
from pipeline.transform.shaping.differences import Change, ChangeKind
from pipeline.transform.verdicts import DeadLettered

SAMPLES: Final = 3
"""Samples of each change: enough to see what it is."""

MOST_CHANGES: Final = 500
"""Kinds of changes, by type and event. Code can make any number of names; those beyond are counted together."""

MOST_ATTRIBUTES: Final = 200
"""Names of attributes of one change; those beyond are counted together."""

OTHER: Final = "other"
UNREADABLE: Final = "unreadable"


class Key(NamedTuple):
    """Changes with the same key are counted together; `failure` is why a webhook fails."""

    kind: ChangeKind
    type: str
    event: str | None = None
    becomes: str | None = None
    failure: DeadLettered | None = None


class Sample(NamedTuple):
    """One webhook that has a change."""

    place: str
    webhook_id: str
    change: Change
    private: tuple[str, ...]
    """Personal data in the webhook, to be masked."""


@dataclass(slots=True)
class Counted:
    """One change: how often, what became of which attributes, and examples."""

    count: int = 0
    attributes: dict[str, Counter[str]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def add(self, record: Record, decision: Decision, change: Change) -> None:
        """Count one more webhook with this change."""
        self.count += 1
        for name, fate in change.attributes.items():
            known = name if name in self.attributes or len(self.attributes) < MOST_ATTRIBUTES else OTHER
            self.attributes.setdefault(known, Counter())[fate] += 1
        if len(self.samples) < SAMPLES:
            private = private_in(record.value)
            self.samples.append(Sample(source_of(record), decision.webhook_id, change, private))


@dataclass(slots=True)
class OfType:
    """Webhooks of one type: how many, how many with a change, and how many changes of each kind."""

    webhooks: int = 0
    changed: int = 0
    kinds: Counter[ChangeKind] = field(default_factory=Counter)


@dataclass(slots=True)
class Report:
    """The whole result of a preview.

    Attributes:
        read: records that were read.
        compared: those that were decided twice and are of a wanted type.
        echoes: those that the worker wrote because of others (`worlds.is_echo`).
        unreadable: those of the compared ones that are not a webhook, under any rules.
        changed: those of the compared ones that have a change.
        types: the compared ones by type; `other` for types that are not in Dodo's catalogue.
        changes: by their keys, in the order in which they were found.
        uncounted: changes beyond `MOST_CHANGES`, which are in `types` alone.
    """

    read: int = 0
    compared: int = 0
    echoes: int = 0
    unreadable: int = 0
    changed: int = 0
    types: dict[str, OfType] = field(default_factory=dict)
    changes: dict[Key, Counted] = field(default_factory=dict)
    uncounted: int = 0

    def add(self, record: Record, decision: Decision, changes: Sequence[Change]) -> None:
        """Add a record that was decided twice."""
        self.compared += 1
        type_ = type_of(decision)
        mine = self.types.setdefault(type_, OfType())
        mine.webhooks += 1
        if decision.type is None:
            self.unreadable += 1
        if not changes:
            return
        self.changed += 1
        mine.changed += 1
        for change in changes:
            mine.kinds[change.kind] += 1
            key = Key(change.kind, type_, change.event, change.becomes, change.failure)
            counted = self.changes.get(key)
            if counted is None:
                if len(self.changes) >= MOST_CHANGES:
                    self.uncounted += 1
                    continue
                counted = self.changes[key] = Counted()
            counted.add(record, decision, change)


def type_of(decision: Decision) -> str:
    """The type under which a record is counted."""
    if decision.type is None:
        return UNREADABLE
    return decision.type if decision.type in TYPES or decision.type.startswith("command.") else OTHER
