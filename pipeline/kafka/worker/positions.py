"""Which record each partition needs next, and what to do with a chunk that a fetch brought.

Pure. The driver's own position cannot be trusted across a pause: a fetch may return after the seek that should have
replaced it, with the broker position moved past records that nobody saw. So the next offset wanted is ours; it moves
only when a chunk really was put before the agent, or when the client itself passed over offsets that hold nothing for
readers: markers, aborted transactions, what compaction took. Those it names, and they are believed at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from faust.types import TP


@dataclass(frozen=True, slots=True)
class Take:
    """Deliver the records from `start` on; with `expected` < `start` what lay between is gone, and nobody knows why."""

    start: int
    expected: int


@dataclass(frozen=True, slots=True)
class SeekBack:
    """Drop the chunk and read again from `offset`: records below it may not have been seen."""

    offset: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing in the chunk is wanted: all of it was delivered, or the partition is not ours (any more)."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The log ends, or has ended, below what was wanted; it begins anew at `start`, and so must the position."""

    start: int
    expected: int


Decision = Take | SeekBack | Drop | Restart


class Positions:
    """The next offset wanted of each owned partition."""

    def __init__(self) -> None:
        self._next: dict[TP, int] = {}
        self._sought: dict[TP, int] = {}

    def restart(self, starts: Mapping[TP, int]) -> None:
        """Own exactly these partitions, from these offsets on (right after the seek to them)."""
        self._next = dict(starts)
        self._sought = {}

    def forget(self) -> None:
        """Own nothing: what still arrives is dropped, and read again after the next `restart`."""
        self.restart({})

    @property
    def partitions(self) -> Iterable[TP]:
        """The owned ones."""
        return tuple(self._next)

    def wanted(self, tp: TP) -> int | None:
        """The next offset to deliver, None when the partition is not owned."""
        return self._next.get(tp)

    def judge(
        self,
        tp: TP,
        first: int,
        last: int,
        end: int | None,
        known_from: int | None = None,
        *,
        refused: int | None = None,
    ) -> Decision:
        """What to do with a chunk of offsets `first` to `last`.

        `end` is the end of the partition's log by the broker's last answer. From `known_from` to `first` the client
        knows that there is nothing. A gap that this does not explain is believed only when it is still there after
        reading the partition again from its position. At `refused` the client could not read on, and began anew.
        """
        expected = self._next.get(tp)
        if expected is None:
            return Drop()
        if refused is not None and first < expected <= refused:
            return Restart(first, expected)  # the log had ended below, and has perhaps grown past it since
        if last < expected:
            # Fetched before the seek; or the broker refused our offset as out of range and the driver began anew.
            return Restart(first, expected) if end is not None and end < expected else Drop()
        if first <= expected:
            return Take(expected, expected)
        if known_from is not None and known_from <= expected:
            return Take(first, first)
        if self._sought.get(tp) == expected:
            return Take(first, expected)
        return SeekBack(expected)

    def sought(self, tp: TP, offset: int) -> None:
        """The driver was made to read `tp` again from `offset`."""
        self._sought[tp] = offset

    def delivered(self, tp: TP, last: int) -> None:
        """Offsets up to `last` are before the agent."""
        self._next[tp] = last + 1

    def pass_over(self, tp: TP, start: int, stop: int) -> bool:
        """The client knows that from `start` to `stop` (exclusive) there is nothing; whether that moved the position.

        It does when everything below `start` is before the agent, and not when a poll in between was dropped.
        """
        moves = start <= self._next.get(tp, stop) < stop
        if moves:
            self._next[tp] = stop
        return moves
