"""How long a partition with work stood still, from samples of its group's offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tests.chaos.season.record import Sample, Stage

UNSEEN_S: Final = 1.0
"""Where nobody looked for longer, work did not wait for all of it: it may have moved right after the look before."""


class Standstill(NamedTuple):
    """A time in which a partition had work and its committed offset did not move."""

    stage: Stage
    partition: int
    began_s: float
    ended_s: float
    """When it was seen to have moved or to have no work any more; the last sample's time when it never did."""

    over: bool

    @property
    def seconds(self) -> float:
        """How long."""
        return self.ended_s - self.began_s


def standstills(samples: Iterable[Sample]) -> Iterator[Standstill]:
    """Every standstill, in the order of their ends; samples must be in the order of time.

    It begins where work is first seen behind an offset that does not move: at most one pause between two samples late.
    A sample in which a partition is missing says nothing of it, and of a longer time without a sample counts a second.
    """
    since: dict[tuple[Stage, int], float] = {}
    last: dict[tuple[Stage, int], int] = {}
    seen: dict[tuple[Stage, int], float] = {}
    at: dict[Stage, float] = {}
    for sample in samples:
        at[sample.stage] = sample.at_s
        for partition, place in sample.places.items():
            key = sample.stage, partition
            moved = key in last and last[key] != place.committed
            last[key] = place.committed
            waits = place.committed < place.end
            if key in since and (moved or not waits):
                yield Standstill(*key, since.pop(key), min(sample.at_s, seen[key] + UNSEEN_S), over=True)
            seen[key] = sample.at_s
            if waits:
                since.setdefault(key, sample.at_s)
    for (stage, partition), began_s in since.items():
        yield Standstill(stage, partition, began_s, at[stage], over=False)
