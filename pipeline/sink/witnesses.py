"""Witnesses: the results of all lanes' requests, in the order in which they ended, as plain data.

Whether it is a record's fault that it fails can only be judged by the others, and only from those near in time: of an
API that is up and down in turns, a thousand successes while it is up prove nothing about an attempt while it is down.
So a failure is compared with the results of the few requests nearest to it, before and after.

A 429 and an answer that blames the content of a request count for neither side: another request in its place might have
been taken or not. Nor does what has failed for so long that it is itself to be judged: with a culprit in every lane,
each would hide behind the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

NEAR: Final = 8
"""Requests on either side of a failure that are compared with it. With more, the share of an hour would be taken for
that of a moment; with less, a healthy API would have to be asked more often before a culprit is known."""

KEPT: Final = 8_192
"""Results that are remembered: at 100 requests per second those of 80 s, longer than the longest pause of a record."""


class Mark(NamedTuple):
    """A moment: how many results there were, and how many of them were successes."""

    results: int
    successes: int


@dataclass(frozen=True, slots=True)
class Nearby:
    """So many of so many requests near a moment failed."""

    failed: int = 0
    requests: int = 0

    def __add__(self, other: Nearby) -> Nearby:
        """Both together."""
        return Nearby(self.failed + other.failed, self.requests + other.requests)


NOBODY: Final = Nearby()


@dataclass(frozen=True, slots=True)
class Between:
    """Others' requests between two moments.

    Attributes:
        after: those next to the first moment.
        before: those next to the second; no request is in both.
        successes: how many of all of them were successes.
    """

    after: Nearby = NOBODY
    before: Nearby = NOBODY
    successes: int = 0


class Witnesses:
    """Results of requests, of any lane. Belongs to one event loop."""

    def __init__(self) -> None:
        self.ended_at = float("-inf")
        self._begun_at = float("-inf")
        self._results = bytearray(KEPT)  # 1 for a failure
        self._count = 0
        self._successes = 0

    @property
    def mark(self) -> Mark:
        """Now."""
        return Mark(self._count, self._successes)

    def accepted(self, begun: float, ended: float, *, compares: bool = True) -> None:
        """Of a request that was sent at `begun`, something was accepted at `ended`.

        `compares` is False for one that others are not to be compared with, whether it had passed or not.
        """
        self.ended_at = ended
        self._begun_at = max(self._begun_at, begun)
        self._successes += 1
        if compares:
            self._add(0)

    def failed(self) -> None:
        """A request failed."""
        self._add(1)

    def after(self, at: float) -> bool:
        """Whether a request that was sent at `at` or later was accepted."""
        return self._begun_at >= at

    def since(self, mark: Mark | None) -> Between:
        """Results of requests since `mark`; of more than are kept, the later ones."""
        if mark is None:
            return Between()
        first = max(mark.results, self._count - KEPT)
        requests = self._count - first
        after, before = min(NEAR, (requests + 1) // 2), min(NEAR, requests // 2)
        return Between(
            Nearby(self._failures(first, after), after),
            Nearby(self._failures(self._count - before, before), before),
            self._successes - mark.successes,
        )

    def _failures(self, first: int, requests: int) -> int:
        return sum(self._results[number % KEPT] for number in range(first, first + requests))

    def _add(self, result: int) -> None:
        self._results[self._count % KEPT] = result
        self._count += 1
