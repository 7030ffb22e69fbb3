"""Events of consuming and producing, as frozen records for observers.

The transport and the producer build one record a fact and hand it to their observers (metrics, health, logs); they
count nothing themselves. Observers run on the event loop and must not block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # ingest knows events, and is no Faust app
    from faust.types import TP


@dataclass(frozen=True, slots=True)
class ChunkDelivered:
    """Records were put before the agent."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int
    end_offset: int | None
    """Next offset that the partition will give, as the broker last returned it; None before its first answer."""
    generation: int
    appended_at_ms: int | None = None
    """When the leader appended the last of them, by its clock; None where records have their producers' time."""
    first_at_ms: int | None = None
    last_at_ms: int | None = None
    """The times of the first and the last of them, whoever gave them; a producer may have written any number."""


@dataclass(frozen=True, slots=True)
class ChunkAcknowledged:
    """Everything below `next_offset` of the partition is done, and may be committed."""

    topic: str
    partition: int
    next_offset: int
    generation: int


@dataclass(frozen=True, slots=True)
class OffsetsCommitted:
    """The broker stored these offsets (next to read) for the group."""

    offsets: Mapping[TP, int]
    generation: int
    took_s: float


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The broker did not store the offsets; `stale` when the membership is gone, else it is tried again."""

    offsets: Mapping[TP, int]
    generation: int
    stale: bool


@dataclass(frozen=True, slots=True)
class RebalanceStarted:
    """Partitions are about to go; `generation` is the one that ends."""

    generation: int


@dataclass(frozen=True, slots=True)
class RebalanceEnded:
    """Records flow again under a new generation; `took_s` since the partitions went, state restored in between."""

    generation: int
    assigned: frozenset[TP]
    took_s: float


@dataclass(frozen=True, slots=True)
class TopicResumed:
    """Records of a topic flow that was missed for `away_s`, `resumed_s` after it was missed last."""

    topic: str
    away_s: float
    resumed_s: float


@dataclass(frozen=True, slots=True)
class HandOverEnded:
    """Before partitions went or the worker stopped.

    `drained`: nothing was in flight when the grace ended. `committed`: everything acknowledged is stored.
    `unfinished`: chunks before the agent that nobody acknowledged; their new owner reads them again.
    """

    generation: int
    drained: bool
    committed: bool
    unfinished: int
    took_s: float


@dataclass(frozen=True, slots=True)
class GapSeen:
    """Offsets were gone before they were read (retention, or somebody deleted them): those records are lost.

    No gap of this kind: markers, aborted transactions and what compaction took, over which the client passes knowingly.
    """

    topic: str
    partition: int
    expected_offset: int
    found_offset: int

    @property
    def records(self) -> int:
        """How many offsets that are; a transaction's marker among them counts as a record."""
        return self.found_offset - self.expected_offset


@dataclass(frozen=True, slots=True)
class SoughtBack:
    """A fetch had run ahead of the position across a pause; the partition is read again from `offset`."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogRestarted:
    """The partition ends below what the group had read (topic made anew, log cut): it is read from its start."""

    topic: str
    partition: int
    expected_offset: int
    found_offset: int


@dataclass(frozen=True, slots=True)
class ProduceStalled:
    """A batch has waited `waited_s` for its partition to take or confirm it; it goes on waiting."""

    topic: str
    partition: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class BatchProduced:
    """The broker acknowledged a batch on all in-sync replicas."""

    topic: str
    partition: int
    records: int
    size_bytes: int
    took_s: float
    """Since the chunk was handed over for sending."""
    appended_at_ms: int | None = None
    """When the leader appended it, by its clock; None where records keep their own time."""


TransportEvent = (
    ChunkDelivered
    | ChunkAcknowledged
    | OffsetsCommitted
    | CommitFailed
    | RebalanceStarted
    | RebalanceEnded
    | TopicResumed
    | HandOverEnded
    | GapSeen
    | SoughtBack
    | LogRestarted
)
ProducerEvent = ProduceStalled | BatchProduced
