"""Partitions go in the middle of the work: what is begun ends, what it would leave behind goes too, nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sink.handover import FINISH_S, SinkHandOver

Virtual = Callable[[Any], Any]

WIDE = "x" * 20_000


def slowly(api: Any, seconds: float) -> Callable[[list[dict[str, Any]], bytes], Any]:
    """Takes everything, after a while."""

    async def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        await asyncio.sleep(seconds)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    return reply


@settings(max_examples=40, deadline=None)
@given(
    lanes=st.integers(1, 8),
    answer_s=st.floats(0.01, 0.4),
    begin_s=st.floats(0.0, 3.0),
    rate=st.sampled_from([20.0, 1000.0]),
)
def test_nothing_is_repeated(
    virtual: Virtual, make: Any, *, lanes: int, answer_s: float, begin_s: float, rate: float
) -> None:
    """Whenever the partitions go, what was accepted is acknowledged, and the next owner repeats none."""
    api = make.api()
    api.last = slowly(api, answer_s)
    rig = make.rig(api, lanes=lanes, rate=rate)
    records = {p: [make.record(f"p{n % 30}-{p}", n, partition=p, pad=WIDE) for n in range(150)] for p in (0, 1)}

    async def feed(generation: int) -> None:
        for partition, ones in records.items():
            left = [one for one in ones if one.offset > max(rig.acked.get(partition, []), default=-1)]
            if left:
                await rig.take(*left, generation=generation)

    async def scenario() -> None:
        async with rig:
            await feed(1)
            await asyncio.sleep(begin_s)
            begun = asyncio.get_running_loop().time()
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert asyncio.get_running_loop().time() - begun <= FINISH_S + answer_s + 0.1
            assert rig.sink.memory.taken_bytes == 0
            acked = sum(max(rig.acked.get(p, []), default=-1) + 1 for p in records)
            assert acked == len(api.accepted)
            rig.assign(2)
            await feed(2)
            await rig.settled()

    virtual(scenario())
    counts = Counter(api.accepted)
    assert set(counts.values()) == {1}
    assert len(counts) == 300
    for person in {who for who, _ in counts}:
        own = [n for who, n in api.accepted if who == person]
        assert own == sorted(own)


def test_no_new_offset_begins(virtual: Virtual, api: Any, make: Any) -> None:
    """Only records in front of something that was sent still go; nothing behind it."""
    ann, bob = "ann", "bob"
    api.last = slowly(api, 1.0)
    rig = make.rig(api, lanes=2)
    people = [*[ann] * 60, bob, *[ann] * 60]

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(who, n, pad=WIDE) for n, who in enumerate(people)))
            await asyncio.sleep(0.5)
            assert len(api.requests) == 2, "the first batch of ann's, and bob's record, which is in front of nothing"
            rig.sink.handover.begin()
            await rig.sink.handover.drained()

    virtual(scenario())
    assert sorted(n for _, n in api.accepted) == list(range(61))
    assert rig.acked[0][-1] == 60


def test_what_is_owed_may_leave_while_it_finishes(virtual: Virtual, api: Any, make: Any) -> None:
    """What a hand-over owes is still sent when the membership lets nothing new begin."""
    api.last = slowly(api, 1.0)
    rig = make.rig(api, lanes=2)
    people = [*["ann"] * 60, "bob", *["ann"] * 60]

    async def scenario() -> None:
        async with rig:
            rig.membership.may_send = lambda _: not rig.sink.handover.is_finishing
            await rig.take(*(make.record(who, n, pad=WIDE) for n, who in enumerate(people)))
            await asyncio.sleep(0.5)
            rig.sink.handover.begin()
            await rig.sink.handover.drained()

    virtual(scenario())
    assert rig.acked[0][-1] == 60


def test_a_lane_in_backoff_gives_up(virtual: Virtual, api: Any, make: Any) -> None:
    """A lane that waits out a backoff ends at once, and nothing that could not be acknowledged anyhow is sent."""
    ann, bob = "ann", "bob"

    async def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if operations[0]["identifiers"]["id"] == ann:
            return httpx.Response(503)
        return await slowly(api, 1.0)(operations, body)  # type: ignore[no-any-return]

    api.last = reply
    rig = make.rig(api, lanes=2)

    async def scenario() -> float:
        async with rig:
            await rig.take(make.record(bob, 0))
            await asyncio.sleep(5)
            await rig.take(make.record(ann, 1))
            await asyncio.sleep(5)
            await rig.take(make.record(bob, 2))
            await asyncio.sleep(10)
            await rig.take(*(make.record(bob, n, pad=WIDE) for n in range(3, 100)))
            await asyncio.sleep(0.5)
            requests = len(api.requests)
            rig.sink.handover.begin()
            begun = asyncio.get_running_loop().time()
            await rig.sink.handover.drained()
            assert len(api.requests) == requests
            return asyncio.get_running_loop().time() - begun

    assert virtual(scenario()) <= 1.0
    assert rig.acked[0] == [0]


def test_a_silent_api_ends_with_the_requests(virtual: Virtual, api: Any, make: Any) -> None:
    """When nothing is answered the hand-over lasts as long as the request in flight, and no further one begins."""
    api.last = api.silent
    rig = make.rig(api, lanes=8)

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, pad=WIDE) for n in range(400)))
            await asyncio.sleep(0.5)
            requests = len(api.requests)
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            took_s = asyncio.get_running_loop().time()
            await asyncio.sleep(100)
            assert len(api.requests) == requests
            return took_s

    assert virtual(scenario()) <= 8.6


def test_a_membership_that_is_over_ends_it(virtual: Virtual, api: Any, make: Any) -> None:
    """Gaps are closed only while the group takes this member for alive."""
    api.last = slowly(api, 1.0)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, pad=WIDE) for n in range(400)))
            await asyncio.sleep(0.5)
            requests = len(api.requests)
            rig.membership.alive = False
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert len(api.requests) == requests

    virtual(scenario())


def test_the_grace_ends_it(virtual: Virtual, api: Any, make: Any) -> None:
    """When whoever waits for the end gives up, nothing leaves any more."""
    api.last = slowly(api, 2.0)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n, pad=WIDE) for n in range(600)))
            await asyncio.sleep(0.5)
            rig.sink.handover.begin()
            drained = asyncio.create_task(rig.sink.handover.drained())
            await asyncio.sleep(0.1)
            requests = len(api.requests)
            drained.cancel()
            rig.sink.handover.abandon()
            await asyncio.sleep(100)
            assert len(api.requests) == requests
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())


async def test_phases() -> None:
    """Open, finishing while something is held, shut; a nap ends with each change."""
    handover = SinkHandOver()
    assert not await handover.nap(60)
    handover.resume(1, frozenset({TP("t", 0)}))
    first = handover.assignment
    assert handover.admits(first)
    handover.took()
    nap = handover.nap(60)
    handover.begin()
    assert not await nap
    assert (handover.admits(first), handover.finishes(first), handover.is_open) == (False, True, True)
    last = handover.nap(60)
    handover.released(1)
    await handover.drained()
    assert not await last
    assert (handover.finishes(first), handover.is_open) == (False, False)
    handover.resume(1, frozenset())
    assert not handover.admits(first), "the same number is another stay all the same"
    handover.begin()
    assert not handover.is_open


def test_what_cannot_leave_in_time_is_left(virtual: Virtual, api: Any, make: Any) -> None:
    """Whatever still waits in front of something that left when no time is left for it is the next owner's."""
    api.last = slowly(api, 3.0)
    rig = make.rig(api, lanes=2)
    people = [*["ann"] * 90, "bob"]

    async def scenario() -> float:
        async with rig:
            await rig.take(*(make.record(who, n, pad=WIDE) for n, who in enumerate(people)))
            await asyncio.sleep(4)
            rig.sink.handover.begin()
            begun = asyncio.get_running_loop().time()
            await rig.sink.handover.drained()
            assert rig.sink.memory.taken_bytes == 0
            assert not rig.sink.queue
            return asyncio.get_running_loop().time() - begun

    assert virtual(scenario()) <= FINISH_S + 3.1
    assert ("bob", 90) in api.accepted
    assert max(n for who, n in api.accepted if who == "ann") < 89
