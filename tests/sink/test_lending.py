"""Lending: what one sink says and does, and four whole sinks on one board."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from pipeline.sink.demand import Usage
from pipeline.sink.events import LeasesChanged
from pipeline.sink.leases import LEASE_S, RETURN_S, Borrowed, Lease, Lent
from pipeline.sink.lending import LOOK_S, TICK_S, TRADE_S, Lender, Lending
from pipeline.sink.statements import Grant, Statement, parse

Virtual = Callable[[Any], Any]

HOT = Usage(25, 0.1)
IDLE = Usage(0, 0.0)
GENERATION = 7


@dataclass
class Purse:
    """A budget of 25 of 100 requests per second, used as a test says."""

    share_per_second: float = 25.0
    limit_per_second: float = 100.0
    factor: float = 1.0
    used: Usage = IDLE
    lent: Lent = field(default_factory=Lent)
    borrowed: Borrowed = field(default_factory=Borrowed)

    def usage(self) -> Usage:
        """What was just used."""
        return self.used

    def refresh(self) -> None:
        """Nobody waits here."""


class Party:
    """One sink's lending, its clock, and the others that it reads of."""

    def __init__(self, used: Usage = IDLE, **purse: Any) -> None:
        self.purse = Purse(used=used, **purse)
        numbers = count(1)
        self.lending = Lending(self.purse, name=lambda: f"me{next(numbers)}")
        self.now = 0.0
        self.reads: list[float] = []
        self.lending.restart(GENERATION, self.now)

    @property
    def said(self) -> Statement | None:
        """What it says now."""
        return parse(self.lending.text)

    def run(self, seconds: float, others: Callable[[], Iterable[Statement]] = list) -> None:
        """Tick, and read `others` whenever it wants to."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            if self.lending.tick(self.now):
                self.reads.append(self.now)
                self.lending.heard(others(), self.now)

    def lent(self) -> float:
        """What it does without."""
        return self.purse.lent.at(self.now)

    def borrowed(self) -> float:
        """What it may use of others'."""
        return self.purse.borrowed.at(self.now)


def wanter(ticket: int, name: str = "b", generation: int = GENERATION) -> Statement:
    """Somebody who wants more."""
    return Statement(generation, name, ticket)


def test_an_idle_sink_says_nothing_and_looks_once_a_second() -> None:
    """It costs the coordinator one small question."""
    party = Party()
    party.run(10.0)
    assert party.lending.text == ""
    assert 8 <= len(party.reads) <= 10
    assert all(b - a >= LOOK_S for a, b in zip(party.reads, party.reads[1:], strict=False))


def test_a_busy_sink_asks_with_a_new_ticket_twice_a_second() -> None:
    """As long as it wants; then it says nothing."""
    party = Party(HOT)
    tickets = []
    for _ in range(int(4 / TRADE_S)):
        party.run(TRADE_S)
        assert party.said is not None
        tickets.append(party.said.ticket)
    assert tickets == list(range(1, len(tickets) + 1))
    party.purse.used = IDLE
    party.run(2.0)
    assert party.lending.text == ""


def test_an_idle_sink_lends_to_a_busy_one() -> None:
    """All but its reserve, before it says so; again for each ticket, and no longer than its lease after the last."""
    party = Party()
    party.run(5.0)
    party.run(LOOK_S, lambda: [wanter(41)])
    assert party.lent() == 23.75
    assert party.said == Statement(GENERATION, "me1", None, {"b": Grant(23.75, 41)})
    party.run(TRADE_S, lambda: [wanter(42)])
    assert party.said is not None
    assert party.said.grants == {"b": Grant(23.75, 42)}
    renewed_at = party.now
    party.run(1.0)
    assert party.lending.text == ""
    party.now = renewed_at + RETURN_S - 0.01
    assert party.lent() == 23.75
    party.now = renewed_at + RETURN_S
    assert party.lent() == 0.0
    party.run(1.0)
    assert party.lending.text == ""


def test_a_ticket_that_is_not_renewed_is_good_for_one_lease() -> None:
    """A borrower that stands still cannot use more, so nothing is kept for it."""
    party = Party()
    party.run(5.0)
    party.run(LOOK_S, lambda: [wanter(41)])
    over_at = next(at for at in party.reads if at > 5.0) + RETURN_S
    while party.now + TICK_S < over_at:
        party.run(TICK_S, lambda: [wanter(41), wanter(40)])
        assert party.lent() == 23.75
    party.run(TICK_S, lambda: [wanter(41), wanter(40)])
    assert party.lent() == 0.0


def test_a_lender_that_gets_work_lends_no_more() -> None:
    """It stops granting at its first wait, and has its share back when the last lease is over."""
    party = Party()
    party.run(5.0)
    numbers = count(1)
    party.run(3.0, lambda: [wanter(next(numbers))])
    assert party.lent() == 23.75
    party.purse.used = Usage(2, 0.6)
    party.run(TICK_S, lambda: [wanter(next(numbers))])
    assert party.lending.text == ""
    assert party.lent() == 23.75
    party.run(RETURN_S + TICK_S, lambda: [wanter(next(numbers))])
    assert party.lent() == 0.0


def test_two_wanters_share_what_is_spare() -> None:
    """The second one gets its half when the first one's promise is over."""
    party = Party()
    party.run(5.0)
    party.run(LOOK_S, lambda: [wanter(1, "b")])
    numbers = count(2)
    party.run(TRADE_S, lambda: [wanter(next(numbers), "b"), wanter(next(numbers), "c")])
    assert party.said is not None
    assert [grant.per_second for grant in party.said.grants.values()] == [11.875]
    party.run(RETURN_S + TRADE_S, lambda: [wanter(next(numbers), "b"), wanter(next(numbers), "c")])
    assert party.said is not None
    assert {who: grant.per_second for who, grant in party.said.grants.items()} == {"b": 11.875, "c": 11.875}
    assert party.lent() == 23.75


def test_who_says_nothing_of_this_generation_gets_nothing() -> None:
    """A ticket of another generation is nobody's, and so is one's own."""
    party = Party()
    party.run(5.0)
    party.run(3.0, lambda: [wanter(1, generation=GENERATION - 1), wanter(1, generation=GENERATION + 1)])
    party.run(3.0, lambda: [wanter(1, "me1"), Statement(GENERATION, "b")])
    assert party.lent() == 0.0
    assert party.lending.text == ""


def grant(party: Party, per_second: float, name: str = "a", ticket: int | None = None) -> Statement:
    """A lender's answer to a ticket, by default to the one that is said now."""
    assert party.said is not None
    assert party.said.ticket is not None
    return Statement(GENERATION, name, None, {"me1": Grant(per_second, ticket or party.said.ticket)})


def test_a_lease_counts_from_its_ticket() -> None:
    """However late the grant is read."""
    party = Party(HOT)
    party.run(TRADE_S)
    asked_at = party.now - TICK_S
    answer = grant(party, 20.0)
    for late_s in (0.1, LEASE_S - 0.1):
        party.lending.heard([answer], asked_at + late_s)
        assert party.purse.borrowed.at(asked_at + late_s) == 20.0
        assert party.purse.borrowed.at(asked_at + LEASE_S) == 0.0


def test_grants_of_several_lenders_add_up() -> None:
    """And one that is not said any more is given up at once."""
    party = Party(HOT)
    party.run(5.0, lambda: [grant(party, 20.0, "a"), grant(party, 15.0, "c"), grant(party, 9.0, "x", ticket=1_000)])
    assert party.borrowed() == 35.0
    party.run(TRADE_S, lambda: [grant(party, 20.0, "a")])
    assert party.borrowed() == 20.0
    party.run(LEASE_S, list)
    assert party.borrowed() == 0.0


def test_who_wants_no_more_gives_back_at_once() -> None:
    """Its lenders cannot know, and count on."""
    party = Party(HOT)
    party.run(5.0, lambda: [grant(party, 20.0)])
    assert party.borrowed() == 20.0
    party.purse.used = IDLE
    party.run(1.5)
    assert party.borrowed() == 0.0


def test_a_hand_over_ends_what_is_borrowed_and_not_what_is_lent() -> None:
    """Borrowers may hear of it later; nobody has what was lent before the next generation."""
    party = Party(HOT)
    party.run(5.0, lambda: [grant(party, 20.0)])
    party.purse.lent.promise("b", Lease(5.0, party.now + RETURN_S))
    party.lending.stop()
    assert (party.borrowed(), party.lent()) == (0.0, 5.0)
    party.lending.heard([grant(party, 20.0)], party.now)
    party.run(1.0, lambda: [grant(party, 20.0)])
    assert party.borrowed() == 0.0
    party.lending.restart(GENERATION + 1, party.now)
    assert party.lent() == 0.0
    assert party.lending.text == ""


def test_joining_again_in_the_same_generation_keeps_what_is_lent() -> None:
    """The borrowers were told of no change."""
    party = Party()
    party.run(5.0)
    party.run(LOOK_S, lambda: [wanter(1)])
    party.lending.stop()
    party.lending.restart(GENERATION, party.now)
    assert party.lent() == 23.75


def test_whoever_may_have_taken_a_lenders_place_does_without() -> None:
    """A static member's next process has the same generation, and what the one before had lent nobody can tell it; at
    later assignments it knows."""  # noqa: D205, D209 - one promise
    purse = Purse()
    lending = Lending(purse, is_successor=True)
    lending.restart(GENERATION, 10.0)
    assert purse.lent.at(10.0 + RETURN_S - 0.01) == 23.75
    assert purse.lent.at(10.0 + RETURN_S) == 0.0
    lending.restart(GENERATION + 1, 20.0)
    assert purse.lent.at(20.0) == 0.0


@pytest.mark.parametrize("share", [0.0, 100.0], ids=["no partitions", "all partitions"])
def test_without_others_there_is_no_trade(share: float) -> None:
    """Nothing is said, read or lent."""
    party = Party(HOT, share_per_second=share)
    party.run(5.0)
    assert party.lending.text == ""
    assert party.reads == []


class Board:
    """What several sinks say, in memory; `delay_s` for each way."""

    def __init__(self, texts: dict[int, str] | None = None, place: int = 0, delay_s: float = 0.02) -> None:
        self.texts = {} if texts is None else texts
        self.place = place
        self.delay_s = delay_s
        self.away = False
        self.spoken: list[str] = []

    def say(self, text: str, generation: int) -> None:
        """Store it a moment later."""
        assert generation == 1
        self.spoken.append(text)
        if not self.away:
            asyncio.get_running_loop().call_later(self.delay_s, self.texts.__setitem__, self.place, text)

    async def read(self) -> list[str] | None:
        """All texts."""
        await asyncio.sleep(self.delay_s)
        return None if self.away else ["not ours", *self.texts.values()]


def test_a_board_that_cannot_be_read(virtual: Virtual) -> None:
    """The sink keeps to its share, asks on, and trades as soon as the board is back."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        purse, board = Purse(used=HOT), Board()
        board.away = True
        lender = Lender(purse, board, loop.time)
        lender.restart(1)
        task = asyncio.create_task(lender.run())
        await asyncio.sleep(5)
        assert purse.borrowed.at(loop.time()) == 0.0
        board.away = False
        await asyncio.sleep(1)
        mine = parse(board.texts[0])
        assert mine is not None
        assert mine.ticket is not None
        board.texts[1] = Statement(1, "a", None, {mine.member: Grant(20.0, mine.ticket)}).render()
        await asyncio.sleep(1)
        assert purse.borrowed.at(loop.time()) == 20.0
        board.away = True
        await asyncio.sleep(LEASE_S)
        assert purse.borrowed.at(loop.time()) == 0.0
        task.cancel()

    virtual(scenario())


def test_a_bug_in_the_lending_ends_the_process(virtual: Virtual, make: Any) -> None:
    """Nothing of the sink ends silently."""

    class Broken(Board):
        async def read(self) -> list[str] | None:
            raise ZeroDivisionError

    async def scenario() -> None:
        rig = make.rig(make.api(), rate=100.0, board=Broken(), may_crash=True)
        async with rig:
            rig.assign(1, partitions=1)
            await asyncio.sleep(10)
            assert [type(crash) for crash in rig.crashes] == [ZeroDivisionError]

    virtual(scenario())


def single(make: Any, requests: int, first: int = 0) -> list[Any]:
    """Records of which each makes a request of its own: one person's, each a barrier."""
    return [make.record("one", first + number, barrier=True) for number in range(requests)]


def test_four_sinks_of_which_one_has_all_the_work(virtual: Virtual, make: Any) -> None:
    """It gets nine tenths of the rate within five seconds, no second has too many, the others begin at once when they
    get work, and each has its share again soon."""  # noqa: D205, D209 - one promise

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        texts: dict[int, str] = {}
        api = make.api()
        async with AsyncExitStack() as stack:
            rigs = [make.rig(api, lanes=8, rate=40.0, board=Board(texts, place)) for place in range(4)]
            for rig in rigs:
                await stack.enter_async_context(rig)
                rig.assign(1, partitions=1)
            await asyncio.sleep(10)
            busy, *idle = rigs
            began = loop.time()
            await busy.take(*single(make, 1_000))
            await asyncio.sleep(10)
            for second in range(5, 10):
                used = sum(began + second <= at < began + second + 1 for at, _ in api.requests)
                assert used >= 36, f"{used} in the second from {second} s on"
            assert busy.sink.budget.borrowed_per_second == 28.5
            assert [rig.sink.budget.lent_per_second for rig in idle] == [9.5] * 3
            assert {one.borrowed_per_second for one in busy.of(LeasesChanged)} >= {28.5}
            asked = loop.time()
            before = len(api.accepted)
            await idle[0].take(make.record("zoe", 0))
            await idle[0].settled()
            assert loop.time() - asked < 0.2
            assert ("zoe", 0) in api.accepted[before:]
            await idle[0].take(*single(make, 300, first=1))
            await asyncio.sleep(RETURN_S + 2)
            assert idle[0].sink.budget.per_second >= 10.0
            assert busy.sink.budget.per_second >= 10.0
            times = [at for at, _ in api.requests]
            assert max(sum(at <= other < at + 1 for other in times[i : i + 60]) for i, at in enumerate(times)) <= 44

    virtual(scenario())


def test_429s_lower_what_is_borrowed_too(virtual: Virtual, make: Any) -> None:
    """A limit that is lower than ours is met by the borrower, who halves all that it may use."""

    async def scenario() -> None:
        texts: dict[int, str] = {}
        api = make.api()
        async with AsyncExitStack() as stack:
            rigs = [make.rig(api, lanes=8, rate=100.0, board=Board(texts, place)) for place in range(2)]
            for rig in rigs:
                await stack.enter_async_context(rig)
                rig.assign(1, partitions=2)
            await asyncio.sleep(5)
            await rigs[0].take(*single(make, 1_000))
            await asyncio.sleep(6)
            budget = rigs[0].sink.budget
            assert budget.per_second == budget.share_per_second + budget.borrowed_per_second == 97.5
            api.script = [api.status(429)]
            await asyncio.sleep(0.5)
            assert budget.factor == 0.5
            assert budget.per_second == 97.5 / 2

    virtual(scenario())
