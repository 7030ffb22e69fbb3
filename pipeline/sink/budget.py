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
import math
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

from pipeline.sink.events import BudgetShared, RateFactorChanged, RequestEnded, SinkEvent, TurnTaken
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.throttle import Throttle

JITTER_S: Final = 0.02
"""How much sooner than the one before it a request may arrive, as measured from when they left: an open connection
against a new one, a busy loop between the turn and the socket. A second of arrivals is kept by 1.02 s of departures."""

WINDOW_S: Final = 1.0 + JITTER_S

CATCH_UP_S: Final = 0.02
"""How late a request may leave without delaying the one after it. Loops count in milliseconds and are busy for some,
at 1,000 requests per second one is due each; a longer pause is not made up for."""

SETTLE_S: Final = CATCH_UP_S + JITTER_S
"""Added to the interval before the first request under a new share: what the partitions' former owners may have caught
up with, or have on the way, still belongs to the old second."""

ROUNDING: Final = 1e-9
"""A share of 20.0 computed as 19.999… is 20."""

BEHIND_S: Final = 60.0
"""A nap of those behind the first in line, which is woken when it is its turn to be the first."""

TOO_MANY: Final = 429


def share(limit_per_second: float, own: int, total: int) -> float:
    """Requests per second that a sink with `own` of `total` partitions may send; 0 without partitions.

    Never above the limit, whatever a view of the topic that is older than the assignment counts.
    """
    return limit_per_second * own / max(total, own) if own > 0 else 0.0


class Pace:
    """When the next request may leave, by a clock that is passed in.

    Slots are an interval apart. A request that leaves up to `CATCH_UP_S` late does not move the slots behind it, so
    late timers cost no rate; and whatever was caught up with, no `WINDOW_S` ever has more than the rate rounded down
    and one.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._from = -math.inf
        self._left: deque[float] = deque()

    def restart(self, per_second: float, now: float) -> None:
        """The share is another one: the first request of it comes one interval, and `SETTLE_S`, from now."""
        self.per_second = per_second
        self._from = max(self._from, now + SETTLE_S)

    def due(self) -> float:
        """The moment from which on a request may leave."""
        most = math.floor(self.per_second + ROUNDING) + 1
        due = self._from + 1.0 / self.per_second
        return max(due, self._left[-most] + WINDOW_S) if len(self._left) >= most else due

    def leave(self, now: float) -> None:
        """A request leaves; not before it is due."""
        self._from = max(self._from + 1.0 / self.per_second, now - CATCH_UP_S)
        self._left.append(now)
        while self._left[0] <= now - WINDOW_S:
            self._left.popleft()

    def used(self, now: float) -> int:
        """Requests that left in the last second."""
        return sum(left > now - 1.0 for left in self._left)


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
