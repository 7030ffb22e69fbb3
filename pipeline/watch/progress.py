"""How far a worker is, counted from what its transport tells.

An observer of `kafka.events`: per partition what was put before the stage, what the stage finished, what the group's
offset says, and what still lies at the broker. Runs on the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faust.types import TP

from pipeline.kafka.events import (
    ChunkAcknowledged,
    ChunkDelivered,
    CommitFailed,
    LogRestarted,
    OffsetsCommitted,
    ProduceStalled,
    RebalanceEnded,
)


@dataclass(slots=True)
class PartitionProgress:
    """Next offsets of one partition; differences are numbers of records, gaps in the log included."""

    delivered: int
    acknowledged: int
    committed: int


class Progress:
    """Counters for `Vitals`, and the place of each assigned partition for `/status` and the lag's series."""

    def __init__(self) -> None:
        self.delivered = 0
        self.acknowledged = 0
        self.committed = 0
        self.attempts = 0
        self.partitions: dict[TP, PartitionProgress] = {}
        self.unread_of: dict[TP, int] = {}

    def __call__(self, event: object) -> None:
        """Take in one event of the transport; others are none of its business."""
        match event:
            case ChunkDelivered():
                self._delivered(event)
            case ChunkAcknowledged():
                tp, reached = TP(event.topic, event.partition), event.next_offset
                # An agent that waited for the chunk may finish it before the transport says that it was delivered.
                mine = self.partitions.setdefault(tp, PartitionProgress(reached, reached, reached))
                if reached > mine.acknowledged:
                    self.acknowledged += reached - mine.acknowledged
                    mine.acknowledged = reached
            case OffsetsCommitted():
                for tp, offset in event.offsets.items():
                    place = self.partitions.get(tp)
                    if place is not None and offset > place.committed:
                        self.committed += offset - place.committed
                        place.committed = offset
            case RebalanceEnded():
                # What an earlier assignment left unfinished is its next owner's, perhaps ours: read again from the
                # committed offset.
                self.partitions.clear()
                self.unread_of.clear()
            case ProduceStalled() | CommitFailed():
                self.attempts += 1
            case LogRestarted():
                self.partitions.pop(TP(event.topic, event.partition), None)

    def _delivered(self, event: ChunkDelivered) -> None:
        tp = TP(event.topic, event.partition)
        place = self.partitions.setdefault(
            tp, PartitionProgress(event.first_offset, event.first_offset, event.first_offset)
        )
        self.delivered += event.records
        place.delivered = max(place.delivered, event.last_offset + 1)
        if event.end_offset is not None:
            self.unread_of[tp] = max(event.end_offset - place.delivered, 0)

    def attempted(self) -> None:
        """The stage tried again to get rid of something: it is alive, whatever the other side answers."""
        self.attempts += 1

    def saw(self, unread: Mapping[TP, int]) -> None:
        """How many records lie at the broker beyond the driver's position, by partition, as just asked for."""
        self.unread_of.update(unread)

    @property
    def unread(self) -> int:
        """Records at the broker."""
        return sum(self.unread_of.values())

    @property
    def undelivered(self) -> int:
        """Records that the stage holds and has not finished."""
        return sum(max(place.delivered - place.acknowledged, 0) for place in self.partitions.values())

    @property
    def uncommitted(self) -> int:
        """Records that are done without the group's offset saying so."""
        return sum(max(place.acknowledged - place.committed, 0) for place in self.partitions.values())
