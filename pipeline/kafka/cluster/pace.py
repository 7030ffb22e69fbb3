"""Computes how fast a group catches up: a pure function of two readings of its lag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.kafka.cluster.lag import GroupLag, PartitionLag, first_waiting


@dataclass(frozen=True, slots=True)
class Throughput:
    """Records a second that came and were done, seconds until none waits; None: unknown, or never at this pace."""

    arriving_per_second: float | None = None
    done_per_second: float | None = None
    drained_in_s: float | None = None


UNKNOWN: Final = Throughput()


@dataclass(frozen=True, slots=True)
class Pace:
    """The throughput of a group, and of each of its partitions by number; one that is not there is unknown."""

    group: Throughput = UNKNOWN
    partitions: Mapping[int, Throughput] = field(default_factory=dict)

    def of(self, partition: int) -> Throughput:
        """That partition's."""
        return self.partitions.get(partition, UNKNOWN)


def pace(before: GroupLag, after: GroupLag, elapsed_s: float) -> Pace:
    """What happened between two readings of the same group that are `elapsed_s` apart."""
    earlier = {row.partition: row for row in before.partitions}
    moved = {row.partition: _moved(earlier.get(row.partition), row) for row in after.partitions}
    if elapsed_s <= 0:
        return Pace()
    partitions = {row.partition: _throughput(moved[row.partition], row.records, elapsed_s) for row in after.partitions}
    known = [one for one in moved.values() if one is not None]
    together = None
    if len(known) == len(moved):
        together = sum(came for came, _ in known), sum(went for _, went in known)
    return Pace(_throughput(together, after.records, elapsed_s), partitions)


def _moved(old: PartitionLag | None, row: PartitionLag) -> tuple[int, int] | None:
    """Records that came and records that were done between two readings of a partition."""
    if old is None or row.records is None or old.records is None or row.end is None or old.end is None:
        return None
    came, went = row.end - old.end, first_waiting(row) - first_waiting(old)
    if came < 0 or went < 0:  # the topic was created anew, or somebody reset the group
        return None
    return came, went


def _throughput(moved: tuple[int, int] | None, waiting: int | None, elapsed_s: float) -> Throughput:
    if moved is None:
        return UNKNOWN
    arriving, doing = moved[0] / elapsed_s, moved[1] / elapsed_s
    drained = None
    if waiting == 0:
        drained = 0.0
    elif waiting and doing > arriving:
        drained = waiting / (doing - arriving)
    return Throughput(arriving, doing, drained)
