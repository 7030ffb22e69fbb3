"""The request budget: this sink's share of the workspace's rate, and its pace.

The rate belongs to the workspace; each sink spends the part that its partitions are of all partitions, so the shares
add up to the whole without the sinks talking to each other. In any sliding second each sink sends at most its share
rounded down and one request more; over all sinks that is the limit and one request a sink.

Written here and not taken from a library, for three things at once: evenly spaced requests with none saved up
(pyrate-limiter's window lets a whole second's requests go at once, aiolimiter's full bucket twice as many), a rate that
changes while lanes wait for it (with a rebalance, with a 429), and waits that a hand-over ends. Around a library each
of them would be our code again; the arithmetic that is left is `Pace`.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from typing import Final, Literal, Protocol

from pipeline.sink.events import BudgetShared, RateFactorChanged, RequestEnded, SinkEvent, TurnTaken
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.pace import Pace
from pipeline.sink.throttle import Throttle

BEHIND_S: Final = 60.0
"""A nap of those behind the first in line, which is woken when it is its turn to be the first."""

TOO_MANY: Final = 429


def share(limit_per_second: float, own: int, total: int) -> float:
    """Requests per second that a sink with `own` of `total` partitions may send; 0 without partitions.

    Never above the limit, whatever a view of the topic that is older than the assignment counts.
    """
    return limit_per_second * own / max(total, own) if own > 0 else 0.0


class Budget(Protocol):
    """Where every request, retries included, gets its turn."""

    @property
    def share_per_second(self) -> float:
        """This sink's part of the workspace's rate."""

    @property
    def per_second(self) -> float:
        """The rate in force."""

    @property
    def factor(self) -> float:
        """What 429s have left of the share, 0 to 1."""

    @property
    def used_per_second(self) -> float:
        """Requests that left in the last second."""

    def assign(self, own: int, total: int) -> None:
        """The sink now has `own` of `total` partitions."""

    def observe(self, event: SinkEvent) -> None:
        """Learn from how requests ended."""

    async def turn(self, since: float | None = None) -> bool:
        """Wait for the next request's turn; False when a hand-over began.

        Whoever has waited longest goes first: from now on, or since a loop time at which the wait began elsewhere.
        """


class _Place:
    """A place in the line of those who wait for a turn."""

    __slots__ = ("nap", "waiting_since")

    def __init__(self, waiting_since: float) -> None:
        self.waiting_since = waiting_since
        self.nap: asyncio.Future[bool] | None = None

    def since(self) -> float:
        """By what the line is ordered; equals keep the order in which they came."""
        return self.waiting_since


class PacedBudget:
    """Requests spread evenly over each second, one at a time: no saved-up burst after a pause.

    The first request comes one interval after an assignment, since the partitions' former owner may have spent its
    share of this second. It listens to how requests end: 429s lower the rate (`throttle`).
    """

    def __init__(
        self, limit_per_second: float, handover: SinkHandOver, emit: Callable[[SinkEvent], None] = lambda _: None
    ) -> None:
        self._limit = limit_per_second
        self._handover = handover
        self._emit = emit
        self._share = limit_per_second
        self._pace = Pace(limit_per_second)
        self._throttle = Throttle()
        self._line: list[_Place] = []

    @property
    def share_per_second(self) -> float:
        """This sink's part of the workspace's rate, 0 without partitions."""
        return self._share

    @property
    def per_second(self) -> float:
        """The rate in force: the share, less what 429s took."""
        return self._share * self._throttle.factor

    @property
    def factor(self) -> float:
        """What 429s have left of the share, 0 to 1."""
        return self._throttle.factor

    @property
    def used_per_second(self) -> float:
        """Requests that left in the last second."""
        return self._pace.used(asyncio.get_running_loop().time())

    def assign(self, own: int, total: int) -> None:
        """Take the share of `own` of `total` partitions; without any the pace stays as it is, nothing is sent."""
        self._share = share(self._limit, own, total)
        if self._share > 0:
            self._pace.restart(self.per_second, asyncio.get_running_loop().time())
        self._emit(BudgetShared(own, total, self._share))

    def observe(self, event: SinkEvent) -> None:
        """A request that was answered 429 lowers the rate, one whose operations were taken raises it again."""
        match event:
            case RequestEnded(status=status, took_s=took_s) if status == TOO_MANY:
                now = asyncio.get_running_loop().time()
                if self._throttle.refused(now - took_s, now):
                    self._changed("throttled")
            case RequestEnded(outcome="accepted" | "partly-refused", took_s=took_s):
                now = asyncio.get_running_loop().time()
                if self._throttle.passed(now - took_s, now):
                    self._changed("success")

    def _changed(self, cause: Literal["throttled", "success"]) -> None:
        if self._share > 0:
            self._pace.per_second = self.per_second
        self._emit(RateFactorChanged(self.factor, self.per_second, cause))

    async def turn(self, since: float | None = None) -> bool:
        """Wait for the next request's turn; False when a hand-over began. See `Budget.turn`."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        place = _Place(asked if since is None else since)
        insort(self._line, place, key=_Place.since)
        try:
            while self._handover.is_open:
                wait_s = self._pace.due() - clock() if self._line[0] is place else BEHIND_S
                if wait_s <= 0:
                    now = clock()
                    self._pace.leave(now)
                    self._emit(TurnTaken(now - asked))
                    return True
                place.nap = self._handover.nap(wait_s)
                if not await place.nap:
                    return False
            return False
        finally:
            self._line.remove(place)
            if self._line and (nap := self._line[0].nap) is not None:
                wake(nap)
