"""Computes how fast a group catches up: a pure function of two readings of its lag."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.kafka.cluster.lag import GroupLag, first_waiting


@dataclass(frozen=True, slots=True)
class Throughput:
    """Records a second that came and were done, seconds until none waits; None: unknown, or never at this pace."""

    arriving_per_second: float | None = None
    done_per_second: float | None = None
    drained_in_s: float | None = None


def pace(before: GroupLag, after: GroupLag, elapsed_s: float) -> Throughput:
    """What happened between two readings of the same group that are `elapsed_s` apart."""
    earlier = {row.partition: row for row in before.partitions}
    arrived = done = 0
    for row in after.partitions:
        old = earlier.get(row.partition)
        if old is None or row.records is None or old.records is None or row.end is None or old.end is None:
            return Throughput()
        came, went = row.end - old.end, first_waiting(row) - first_waiting(old)
        if came < 0 or went < 0:  # the topic was created anew, or somebody reset the group
            return Throughput()
        arrived += came
        done += went
    if elapsed_s <= 0:
        return Throughput()
    arriving, doing = arrived / elapsed_s, done / elapsed_s
    waiting = after.records
    drained = None
    if waiting == 0:
        drained = 0.0
    elif waiting and doing > arriving:
        drained = waiting / (doing - arriving)
    return Throughput(arriving, doing, drained)
