"""The results of one chunk of webhooks: counted while it is mapped, reported to observers once it is durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from pipeline.dodo.catalogue import TYPES
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import DeadLettered, Dropped, Note, OperationKind, Operations, SentOn
from pipeline.watch.metrics import OTHER

if TYPE_CHECKING:
    from pipeline.transform.spans import RecordSpan

Outcome = Literal["operations", "dropped", "dead_letter", "sent_on"]


@dataclass(frozen=True, slots=True)
class ChunkTransformed:
    """One chunk of one partition, after everything that it caused became durable.

    `webhooks` counts (type, outcome, reason): the drop's code, the dead letter's class, else "". `operations` counts
    (kind, canonical event name), the name of an identify being "". `notes` counts the mapping's codes: cut attributes,
    events older than 72 h and so on. `mapping_s` is the time of computing, `produce_s` the time from sending until the
    last record was durable. `last` is what was decided last.
    """

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int
    bytes: int
    webhooks: Mapping[tuple[str, Outcome, str], int]
    operations: Mapping[tuple[OperationKind, str], int]
    notes: Mapping[Note, int]
    mapping_s: float
    produce_s: float
    last: Decision | None = None


class LoggedLetter(NamedTuple):
    """A dead letter, for the log: where it came from (`topic/partition/offset`), why, and its trace if that is kept."""

    source: str
    verdict: DeadLettered
    trace_id: str | None = None


@dataclass(slots=True)
class ChunkStats:
    """The counts of a chunk in the making."""

    webhooks: Counter[tuple[str, Outcome, str]] = field(default_factory=Counter)
    operations: Counter[tuple[OperationKind, str]] = field(default_factory=Counter)
    notes: Counter[Note] = field(default_factory=Counter)
    letters: list[LoggedLetter] = field(default_factory=list)
    spans: list[RecordSpan] = field(default_factory=list)
    """Of webhooks whose trace is kept: to be ended when all is durable. A chunk that is given up leaves none."""
    last: Decision | None = None

    def add(self, decision: Decision) -> None:
        """Count one webhook."""
        self.last = decision
        known = decision.type if decision.type is not None and decision.type in TYPES else OTHER
        verdict = decision.verdict
        if type(verdict) is Operations:
            self.webhooks[known, "operations", ""] += 1
            for operation in verdict.operations:
                self.operations[operation.kind, operation.name or ""] += 1
            for note in verdict.notes:
                self.notes[note] += 1
        elif type(verdict) is Dropped:
            self.webhooks[known, "dropped", verdict.reason] += 1
        elif type(verdict) is DeadLettered:
            self.webhooks[known, "dead_letter", verdict.class_] += 1
        elif type(verdict) is SentOn:
            self.webhooks[known, "sent_on", ""] += 1
