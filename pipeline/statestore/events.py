"""Events of state stores, as frozen records for observers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TOMBSTONE: Final = "tombstone"
"""In place of a kind, for a deletion."""


@dataclass(frozen=True, slots=True)
class ChangesStored:
    """The changes of chunks of one partition became durable in the changelog, which commits them.

    `kinds` counts records by kind of key; a deletion counts as `TOMBSTONE`. `took_s` is the time from
    sending the oldest of them until they were stored.
    """

    topic: str
    partition: int
    kinds: Mapping[str, int]
    bytes: int
    took_s: float


@dataclass(frozen=True, slots=True)
class RecordsKeptAside:
    """Records of the changelog that are no values of this version were kept aside; `kinds` counts them by kind."""

    topic: str
    partition: int
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GapRead:
    """Records that we did not write had come between ours, and were merged."""

    topic: str
    partition: int
    records: int


@dataclass(frozen=True, slots=True)
class StoreStartedAnew:
    """A store was missing or could not be trusted; its partition is read from the topic's start."""

    topic: str
    partition: int
    why: str


@dataclass(frozen=True, slots=True)
class RestoreAdvanced:
    """A piece of the changelog was taken in; `remaining` offsets are left, over all partitions of this restore."""

    topic: str
    partition: int
    records: int
    remaining: int


@dataclass(frozen=True, slots=True)
class StateRestored:
    """The state of these partitions is complete. `records` were read, since `took_s`."""

    topic: str
    partitions: tuple[int, ...]
    records: int
    took_s: float


@dataclass(frozen=True, slots=True)
class RestoreCalledOff:
    """It did not come to its end: a rebalance overtook it, or the worker ends. What it has taken in stays."""

    topic: str


@dataclass(frozen=True, slots=True)
class StoreCompacted:
    """A store's file was written anew without what was deleted from it, `waited_s` after the first of that."""

    topic: str
    partition: int
    bytes_before: int
    bytes_after: int
    waited_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class CompactionFailed:
    """It could not be; what was deleted stays on the disk until the next attempt."""

    topic: str
    partition: int
    error: Exception


@dataclass(frozen=True, slots=True)
class StoreRemoved:
    """The store of a partition that this worker does not own any more was deleted."""

    topic: str
    partition: int


StateEvent = (
    ChangesStored
    | RecordsKeptAside
    | GapRead
    | StoreStartedAnew
    | RestoreAdvanced
    | StateRestored
    | RestoreCalledOff
    | StoreCompacted
    | CompactionFailed
    | StoreRemoved
)
