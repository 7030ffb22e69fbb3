"""Computes which partition owns a group of keys: that of the group's name by Java's default partitioner."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.kafka.producer.partitioner import partition_of


class Ownership(NamedTuple):
    """One partition of so many, all of the input topic and of the changelog alike."""

    partition: int
    partitions: int

    def owner(self, group: bytes) -> int:
        """The partition of a group of keys."""
        return partition_of(group, self.partitions)

    def owns(self, group: bytes) -> bool:
        """Whether it is this one."""
        return partition_of(group, self.partitions) == self.partition
