"""The request budget: this sink's share of the workspace's rate, what is lent and borrowed of it, and its pace.

The rate belongs to the workspace; each sink spends the part that its partitions are of all partitions, so the shares
add up to the whole without the sinks talking to each other. What an idle one lends to a busy one (`lending`) is the
borrower's alone for that time. In any sliding second each sink sends at most what it may use rounded down and one
request more; over all sinks that is the limit and one request a sink.

Written here and not taken from a library, for three things at once: evenly spaced requests with none saved up
(pyrate-limiter's window lets a whole second's requests go at once, aiolimiter's full bucket twice as many), a rate that
changes while lanes wait for it (with a rebalance, with a 429), and waits that a hand-over ends. Around a library each
of them would be our code again; the arithmetic that is left is `Pace`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from pipeline.kafka.worker.membership import since_boot
from pipeline.sink.demand import RESERVE, Usage
from pipeline.sink.events import BudgetShared, LeasesChanged, RateFactorChanged, RequestEnded, SinkEvent, TurnTaken
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.leases import Borrowed, Lent
from pipeline.sink.pace import WINDOW_S, Pace
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
    def borrowed_per_second(self) -> float:
        """What other sinks lend to this one."""

    @property
    def lent_per_second(self) -> float:
        """What of the share others may use."""

    @property
    def factor(self) -> float:
        """What 429s have left of the rate, 0 to 1."""

    @property
    def used_per_second(self) -> float:
        """Requests that left in the last second."""

    def assign(self, own: int, total: int) -> None:
        """The sink now has `own` of `total` partitions."""

    def observe(self, event: SinkEvent) -> None:
        """Learn from how requests ended."""

    async def turn(self) -> bool:
        """Wait for the next request's turn, first come, first served; False when a hand-over began."""


class _Place:
    """A place in the line of those who wait for a turn."""

    __slots__ = ("asked_at", "nap")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.nap: asyncio.Future[bool] | None = None


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class PacedBudget:
    """Requests spread evenly over each second, one at a time: no saved-up burst after a pause.

    The first request comes one interval after an assignment, since the partitions' former owner may have spent its
    share of this second. It listens to how requests end: 429s lower the rate (`throttle`), whoever's share it is of.

    Args:
        limit_per_second: the workspace's rate.
        handover: ends waits.
        emit: receives what happens.
        clock: seconds by which the pace counts.
        lease_clock: seconds by which leases end; goes on while the host is suspended.

    Attributes:
        next_due: when the next request may leave, as known when the last one left; may be read in any thread.
    """

    def __init__(
        self,
        limit_per_second: float,
        handover: SinkHandOver,
        emit: Callable[[SinkEvent], None] = lambda _: None,
        clock: Callable[[], float] = _loop_time,
        lease_clock: Callable[[], float] = since_boot,
    ) -> None:
        self.limit_per_second = limit_per_second
        self.lent = Lent()
        self.borrowed = Borrowed()
        self._handover = handover
        self._emit = emit
        self._clock = clock
        self._lease_clock = lease_clock
        self._share = limit_per_second
        self._pace = Pace(limit_per_second)
        self._throttle = Throttle()
        self._line: list[_Place] = []
        self._leases = (0.0, 0.0)
        self.next_due = 0.0

    @property
    def share_per_second(self) -> float:
        """This sink's part of the workspace's rate, 0 without partitions."""
        return self._share

    @property
    def per_second(self) -> float:
        """The rate in force: the share, less what is lent, with what is borrowed, less what 429s took of that."""
        share = self._share
        own = max(share - self.lent.at(self._lease_clock()), RESERVE * share)
        return (own + self.borrowed_per_second) * self.factor

    @property
    def borrowed_per_second(self) -> float:
        """What other sinks lend to this one; with its share never above the workspace's rate."""
        return min(self.borrowed.at(self._lease_clock()), self.limit_per_second - self._share)

    @property
    def lent_per_second(self) -> float:
        """What of the share others may use."""
        return self.lent.at(self._lease_clock())

    @property
    def factor(self) -> float:
        """What 429s have left of the rate, 0 to 1."""
        return self._throttle.factor(self._clock())

    @property
    def used_per_second(self) -> float:
        """Requests that left in the last second."""
        return self._pace.used(self._clock())

    def usage(self) -> Usage:
        """What left in the last window, and how long those in line have waited."""
        now = self._clock()
        waiting_s = now - (self._line[0].asked_at if self._line else now)
        return Usage(self._pace.used(now, WINDOW_S), waiting_s)

    def assign(self, own: int, total: int) -> None:
        """Take the share of `own` of `total` partitions; without any the pace stays as it is, nothing is sent."""
        self._share = share(self.limit_per_second, own, total)
        if self._share > 0:
            self._pace.restart(self.per_second, self._clock())
        self._emit(BudgetShared(own, total, self._share))

    def refresh(self) -> None:
        """What is lent or borrowed may have changed: report it, and let the first lane in line look again."""
        leases = (self.lent_per_second, self.borrowed_per_second)
        if leases != self._leases:
            self._leases = leases
            self._emit(LeasesChanged(*leases, self.per_second))
            self._wake()

    def observe(self, event: SinkEvent) -> None:
        """A request that was answered 429 lowers the rate, one whose operations were taken raises it again."""
        match event:
            case RequestEnded(status=status, took_s=took_s) if status == TOO_MANY:
                now = self._clock()
                if self._throttle.refused(now - took_s, now):
                    self._emit(RateFactorChanged(self.factor, self.per_second, "throttled"))
            case RequestEnded(outcome="accepted" | "partly-refused", took_s=took_s):
                now = self._clock()
                if self._throttle.passed(now - took_s, now):
                    self._emit(RateFactorChanged(self.factor, self.per_second, "success"))

    def due(self) -> float:
        """The moment from which on a request may leave, at the rate of this moment: a lease may just have ended."""
        if self._share > 0:
            self._pace.per_second = self.per_second
        return self._pace.due()

    def leave(self) -> None:
        """A request leaves; not before it is due."""
        self._pace.leave(self._clock())
        self.next_due = self._pace.due()

    async def turn(self) -> bool:
        """Wait for the next request's turn; False when a hand-over began. See `Budget.turn`."""
        asked = self._clock()
        place = _Place(asked)
        self._line.append(place)
        try:
            while self._handover.is_open:
                wait_s = self.due() - self._clock() if self._line[0] is place else BEHIND_S
                if wait_s <= 0:
                    self.leave()
                    self._emit(TurnTaken(self._clock() - asked))
                    return True
                place.nap = self._handover.nap(wait_s)
                if not await place.nap:
                    return False
            return False
        finally:
            self._line.remove(place)
            self._wake()

    def _wake(self) -> None:
        if self._line and (nap := self._line[0].nap) is not None:
            wake(nap)
