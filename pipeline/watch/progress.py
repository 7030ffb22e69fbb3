"""Counts the progress of a worker from the events of its transport.

An observer of `kafka.events`: per partition the offsets up to which records were delivered to the stage, finished by
it and committed, how many are still at the broker, and the attempts. Runs on the event loop.
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
    """Counters for `Vitals`, and the offsets of each assigned partition."""

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
        """Handle one event of the transport; others are ignored."""
        match event:
            case ChunkDelivered():
                self._delivered(event)
            case ChunkAcknowledged():
                tp, reached = TP(event.topic, event.partition), event.next_offset
                # An agent that waited for the chunk may finish it before the transport reports it as delivered.
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
                # This worker commits no more for them, however long a restore takes until the next assignment.
                for place in self.partitions.values():
                    place.committed = place.acknowledged
            case RebalanceEnded():
                # What an earlier assignment left unfinished is read again by its next owner, perhaps this worker, from
                # the committed offset.
                self.partitions.clear()
                self.unread_of.clear()
            case CommitFailed(stale=False):
                self._tries_of.update(event.offsets.keys())
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
        """Record that something was tried again, or is held on purpose: the stage is alive, even if each attempt fails.

        `partitions` are those whose oldest record it was; None: all. So a record that is never tried shows as a
        partition without progress, although others are tried.
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
        """Note how many records are at the broker beyond the driver's position, by partition."""
        self.unread_of.update(unread)

    def place(self, tp: TP) -> PartitionVitals:
        """The vital signs of one partition now."""
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
        """The vital signs of the assigned partitions now."""
        return {tp: self.place(tp) for tp in assigned}
