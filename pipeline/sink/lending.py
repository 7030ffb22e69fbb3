"""Lending: idle sinks let busy ones use their requests, by what each publishes about itself.

Each sink publishes one `Statement` to its whole group. One that has more work than its share allows publishes a
ticket, a new one twice a second. One that has requests to spare looks once a second whether anybody has, grants them,
and grants anew for each new ticket. Nobody coordinates; safety is in `leases` alone, and needs no answer to arrive.

`Lending` decides and takes the time as an argument. `Lender` is its shell: it measures, reads and publishes.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from pipeline import logs
from pipeline.kafka.worker.membership import since_boot
from pipeline.sink.demand import RESERVE, Demand, Usage
from pipeline.sink.leases import LEASE_S, RETURN_S, Borrowed, Lease, Lent, divide
from pipeline.sink.statements import MAX_GRANTS, Grant, Statement, parse

TICK_S: Final = 0.25
"""How often a sink looks at itself. Costs no request."""

TRADE_S: Final = 0.5
"""Between two tickets, and between two readings while something is wanted or lent. With the 0.3 s that a commit may
wait for others, a ticket's grant is read within 1.3 s, and a lease lasts 3 s."""

LOOK_S: Final = 1.0
"""Between two readings of an idle sink, to which nobody has lent or wants to."""

PREDECESSOR: Final = "predecessor"
"""To whom the process before this one may have lent."""

BORROWS: Final = "Idle sinks lend this one a part of the workspace's rate"
BORROWS_NO_MORE: Final = "This sink is back at its own part of the workspace's rate"
LENDS: Final = "This sink is idle and lends its part of the workspace's rate"
LENDS_NO_MORE: Final = "This sink has all of its part of the workspace's rate again"

log = logs.get(__name__)


class Purse(Protocol):
    """`pipeline.sink.budget.PacedBudget` fits."""

    lent: Lent
    borrowed: Borrowed

    @property
    def share_per_second(self) -> float:
        """This sink's part of the workspace's rate."""

    @property
    def limit_per_second(self) -> float:
        """The workspace's rate."""

    @property
    def factor(self) -> float:
        """What 429s have left, 0 to 1."""

    def usage(self) -> Usage:
        """What was just used of it."""

    def refresh(self) -> None:
        """What is lent or borrowed may have changed."""


class Board(Protocol):
    """`pipeline.kafka.worker.notes.Notes` fits."""

    def say(self, text: str, generation: int) -> None:
        """Publish `text` to the group in the place of this member's last one, as soon as possible."""

    async def read(self) -> list[str] | None:
        """The last text of each member, in any order; None when they cannot be read now."""


class Lending:
    """What one sink wants, lends and publishes. Pure but for the purse, whose clocks are the caller's.

    `text` is what the group should read of it now. `is_successor`: the process may have taken the place of another one
    within its generation (static membership).
    """

    def __init__(
        self, purse: Purse, *, is_successor: bool = False, name: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._purse = purse
        self._is_successor = is_successor
        self._name = name
        self._demand = Demand()
        self._active = False
        self._member = ""
        self._ticket = 0
        self._tickets: dict[int, float] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._ticket_at = self._read_at = -math.inf
        self._trades = False
        self.generation = -1
        self.text = ""

    def restart(self, generation: int, now: float) -> None:
        """An assignment begins.

        What was lent in the same generation stays lent, for the borrowers do not know of a change: by this process,
        which joined again, or by the one whose place it took. Of that one nothing is known for certain, since a commit
        that was never answered may have replaced its last note; so it counts as having lent all that can be.
        """
        if generation != self.generation:
            self._purse.lent.clear()
            if self._is_successor:
                most = self._purse.share_per_second * (1 - RESERVE)
                self._purse.lent.promise(PREDECESSOR, Lease(most, now + RETURN_S))
                self._is_successor = False
            self.generation = generation
            self._member = self._name()
        self._purse.borrowed.replace({})
        self._tickets.clear()
        self._seen.clear()
        self._demand.restart(now)
        self._ticket_at = self._read_at = -math.inf
        self._active = 0 < self._purse.share_per_second < self._purse.limit_per_second
        self._settle()

    def stop(self) -> None:
        """A hand-over begins: what was borrowed may not be used any more."""
        self._active = False
        self._purse.borrowed.replace({})

    def tick(self, now: float) -> bool:
        """Look at the demand; whether the board should be read now."""
        purse, demand = self._purse, self._demand
        usage = purse.usage()
        share = purse.share_per_second
        lent = purse.lent.at(now)
        wanted = demand.wants
        demand.observe(now, usage, share * purse.factor, lends=lent > 0)
        if not self._active:
            return False
        if demand.wants:
            if now >= self._ticket_at + TRADE_S:
                self._ask(now)
        elif wanted:
            purse.borrowed.replace({})
            self._settle()
        elif not demand.spare(now, usage, share):
            self._settle()
            return False
        elif not lent:
            self._settle()
        if now < self._read_at + (TRADE_S if demand.wants or self._trades else LOOK_S):
            return False
        self._read_at = now
        return True

    def heard(self, statements: Iterable[Statement], now: float) -> None:
        """The board was read; `now` is a moment after its answer came."""
        others = [one for one in statements if one.generation == self.generation and one.member != self._member]
        if not self._active:
            return
        if self._demand.wants:
            self._borrow(others)
        else:
            self._lend(others, now)

    def _ask(self, now: float) -> None:
        self._ticket += 1
        self._ticket_at = now
        self._tickets = {number: at for number, at in self._tickets.items() if now < at + LEASE_S}
        self._tickets[self._ticket] = now
        self._say(ticket=self._ticket)

    def _borrow(self, others: Iterable[Statement]) -> None:
        leases = {}
        for lender in others:
            grant = lender.grants.get(self._member)
            if grant is not None and grant.ticket in self._tickets:
                leases[lender.member] = Lease(grant.per_second, self._tickets[grant.ticket] + LEASE_S)
        self._purse.borrowed.replace(leases)

    def _lend(self, others: Iterable[Statement], now: float) -> None:
        purse = self._purse
        tickets = {
            one.member: self._first_seen(one.member, one.ticket, now) for one in others if one.ticket is not None
        }
        wanters = sorted(who for who, (_, at) in tickets.items() if now < at + LEASE_S)[:MAX_GRANTS]
        spare = self._demand.spare(now, purse.usage(), purse.share_per_second)
        grants = {}
        for who, per_second in divide(spare, purse.lent.held(now), wanters).items():
            ticket, seen_at = tickets[who]
            # Given up before it is published: a reader of the grant may use it at once.
            purse.lent.promise(who, Lease(per_second, seen_at + RETURN_S))
            grants[who] = Grant(per_second, ticket)
        self._trades = bool(wanters)
        self._say(grants=grants)

    def _first_seen(self, member: str, ticket: int, now: float) -> tuple[int, float]:
        """The ticket, and a moment at which it had been noted for certain: when it was first read, or a later one."""
        newest, at = self._seen.get(member, (-1, now))
        if ticket > newest:
            newest, at = self._seen[member] = ticket, now
        return ticket, at

    def _settle(self) -> None:
        """Nothing is wanted and nothing more granted."""
        self._trades = False
        self._say()

    def _say(self, *, ticket: int | None = None, grants: dict[str, Grant] | None = None) -> None:
        silent = ticket is None and not grants
        self.text = "" if silent else Statement(self.generation, self._member, ticket, grants or {}).render()


class Lender:
    """The shell around `Lending`: the clock, the board, and when to look. Belongs to one event loop."""

    def __init__(
        self, purse: Purse, board: Board, clock: Callable[[], float] = since_boot, *, is_successor: bool = False
    ) -> None:
        self._lending = Lending(purse, is_successor=is_successor)
        self._purse = purse
        self._board = board
        self._clock = clock
        self._said: tuple[str, int] | None = None
        self._logged = (False, False)
        self.stop = self._lending.stop

    def restart(self, generation: int) -> None:
        """An assignment begins; the budget has its share already."""
        self._lending.restart(generation, self._clock())
        self._speak()

    async def run(self) -> None:
        """Lend and borrow until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            await self._turn()

    async def _turn(self) -> None:
        lending = self._lending
        if lending.tick(self._clock()):
            self._speak()
            texts = await self._board.read()
            if texts is not None:
                lending.heard(_statements(texts), self._clock())
        self._purse.refresh()
        self._log(self._purse.lent.at(self._clock()), self._purse.borrowed.at(self._clock()))
        self._speak()

    def _log(self, lent: float, borrowed: float) -> None:
        lends, borrows = self._logged
        if bool(borrowed) != borrows:
            log.info(BORROWS if borrowed else BORROWS_NO_MORE, per_second=round(borrowed, 3))
        if bool(lent) != lends:
            log.info(LENDS if lent else LENDS_NO_MORE, per_second=round(lent, 3))
        self._logged = (bool(lent), bool(borrowed))

    def _speak(self) -> None:
        said = (self._lending.text, self._lending.generation)
        if said != self._said:
            self._said = said
            self._board.say(*said)


def _statements(texts: Iterable[str]) -> list[Statement]:
    return [statement for text in texts if (statement := parse(text)) is not None]
