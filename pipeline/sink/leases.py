"""Leases: requests a second that one sink may use of another's share, for a few seconds.

Nobody agrees on the time of day, and no message need arrive. A borrower numbers what it asks for: each *ticket* is
noted by its own clock before it is published. A lender that has read a ticket answers with a *grant* that names it.
The borrower's lease ends `LEASE_S` after the ticket was noted; the lender counts from the moment that it had read the
ticket, which cannot be earlier, and takes nothing back before `RETURN_S`. So the lease is over on the borrower's side
first, whenever the grant arrived, whether or not the lender's commit was answered, and whoever was frozen in between.
What the borrower may not use any more, nobody uses for a whole window: no second has both.

Pure: clocks are read elsewhere, and go on while the host is suspended (`pipeline.kafka.worker.membership.since_boot`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.sink.pace import WINDOW_S

LEASE_S: Final = 3.0
"""From a ticket to the end of the lease that answers it. Ticket, grant and their reading take 1.3 s of that at most
(`lending`), so a coordinator may be slow for 1.7 s before a lease that both sides want lapses. A lender that gets work
of its own waits for this long, so it is no longer."""

DRIFT_S: Final = 0.05
"""How much two clocks may differ over a lease. NTP slews a clock by 500 ppm at most, 1.5 ms."""

RETURN_S: Final = LEASE_S + WINDOW_S + DRIFT_S
"""From the reading of a ticket until the lender uses again what it granted."""

ROUND: Final = 1_000
"""Grants are multiples of 1/1000 a second."""


@dataclass(frozen=True, slots=True)
class Lease:
    """So many requests a second, until a moment."""

    per_second: float
    until: float


class Borrowed:
    """What others lend to this sink, by lender."""

    def __init__(self) -> None:
        self._leases: Mapping[str, Lease] = {}

    def replace(self, leases: Mapping[str, Lease]) -> None:
        """These and no others are known now."""
        self._leases = leases

    def at(self, now: float) -> float:
        """Requests per second that are in force."""
        return sum(lease.per_second for lease in self._leases.values() if now < lease.until)


class Lent:
    """What this sink promised, by borrower. A promise holds until its end, whatever is promised after it."""

    def __init__(self) -> None:
        self._promises: dict[str, list[Lease]] = {}

    def promise(self, borrower: str, promised: Lease) -> None:
        """Do without `promised.per_second` until `promised.until`, as long as nothing larger is promised as well."""
        others = [one for one in self._promises.get(borrower, ()) if not _covers(promised, one)]
        self._promises[borrower] = [*others, promised]

    def held(self, now: float) -> dict[str, float]:
        """Requests per second that each borrower may hold at most."""
        for borrower, promises in list(self._promises.items()):
            kept = [one for one in promises if now < one.until]
            if kept:
                self._promises[borrower] = kept
            else:
                del self._promises[borrower]
        return {who: max(one.per_second for one in promises) for who, promises in self._promises.items()}

    def at(self, now: float) -> float:
        """Requests per second that this sink must do without."""
        return sum(self.held(now).values()) if self._promises else 0.0

    def clear(self) -> None:
        """A new generation begins: who borrowed in the old one has stopped, or the group would not have begun it."""
        self._promises.clear()


def _covers(one: Lease, other: Lease) -> bool:
    return one.per_second >= other.per_second and one.until >= other.until


def divide(spare: float, held: Mapping[str, float], wanters: Sequence[str]) -> dict[str, float]:
    """Requests per second for each wanter, evenly, out of `spare`; a wanter without any is left out.

    `held` was promised before and cannot be taken back before its time: what a wanter holds can be granted again to it,
    and only what nobody holds can be granted to somebody else.
    """
    grants = {}
    room = spare - sum(held.values())
    for number, wanter in enumerate(wanters):
        mine = held.get(wanter, 0.0)
        fair = spare / len(wanters)
        more = min(max(fair - mine, 0.0), max(room, 0.0) / (len(wanters) - number))
        grant = int(min(fair, mine + more) * ROUND) / ROUND
        room -= max(grant - mine, 0.0)
        if grant > 0:
            grants[wanter] = grant
    return grants
