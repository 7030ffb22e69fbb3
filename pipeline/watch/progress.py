"""How far a worker is, counted from what its transport reports.

An observer of `kafka.events`: per partition what was put before the stage, what the stage finished, what the group's
offset is, what still lies at the broker, and which attempts concern it. Runs on the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from faust.types import TP

from pipeline.kafka.events import (
    ChunkAcknowledged,
    ChunkDelivered,
    CommitFailed,
    HandOverEnded,
    LogRestarted,
    OffsetsCommitted,
    ProduceStalled,
    RebalanceEnded,
)
from pipeline.watch.vitals import PartitionVitals


@dataclass(slots=True)
class PartitionProgress:
    """Next offsets of one partition; differences are numbers of records, gaps in the log included."""

    delivered: int
    acknowledged: int
    committed: int


class Progress:
    """Counters for `Vitals`, and the place of each assigned partition."""

    def __init__(self) -> None:
        self.delivered = 0
        self.acknowledged = 0
        self.committed = 0
        self.attempts = 0
        self.partitions: dict[TP, PartitionProgress] = {}
        self.unread_of: dict[TP, int] = {}
        self._attempts_of: Counter[TP] = Counter()
        self._attempts_of_all = 0
        self._tries_of: Counter[TP] = Counter()

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
            case HandOverEnded():
                # Nobody here commits for them any more, however long a restore takes until the next assignment.
                for place in self.partitions.values():
                    place.committed = place.acknowledged
            case RebalanceEnded():
                # What an earlier assignment left unfinished is its next owner's, perhaps ours: read again from the
                # committed offset.
                self.partitions.clear()
                self.unread_of.clear()
            case ProduceStalled():
                self.attempted()
            case CommitFailed(stale=False):
                # Whoever coordinates the group is away: what else waits for the brokers may say nothing meanwhile.
                self._tries_of.update(event.offsets.keys())
                self.attempted()
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

    def attempted(self, partitions: Iterable[TP] | None = None) -> None:
        """Something was tried again, or is held on purpose: the stage is alive, whatever the other side answers.

        `partitions` are those whose oldest record that concerns; without it, all. A record that nobody tries to get on
        with is found by its partition's standing still, although others are tried.
        """
        concerned = None if partitions is None else list(partitions)
        if concerned is None:
            self._attempts_of_all += 1
        elif concerned:
            self._attempts_of.update(concerned)
        else:
            return
        self.attempts += 1

    def saw(self, unread: Mapping[TP, int]) -> None:
        """How many records lie at the broker beyond the driver's position, by partition, as just asked for."""
        self.unread_of.update(unread)

    def place(self, tp: TP) -> PartitionVitals:
        """One partition as it is now."""
        place = self.partitions.get(tp)
        return PartitionVitals(
            delivered=place.delivered if place is not None else None,
            acknowledged=place.acknowledged if place is not None else None,
            committed=place.committed if place is not None else None,
            unread=self.unread_of.get(tp, 0),
            attempts=self._attempts_of[tp] + self._attempts_of_all,
            tries=self._tries_of[tp],
        )

    def places(self, assigned: Iterable[TP]) -> dict[TP, PartitionVitals]:
        """The assigned partitions as they are now."""
        return {tp: self.place(tp) for tp in assigned}
