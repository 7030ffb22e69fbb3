"""Which lane is the next, and how large its requests may be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.limits import BODY_MAX_BYTES
from pipeline.sink.batching import MIN_BUDGET_BYTES
from pipeline.sink.lanes import Lane

Virtual = Callable[[Any], Any]


@given(st.lists(st.booleans(), max_size=40))
def test_byte_budget(timeouts: list[bool]) -> None:
    """The byte budget stays between one largest operation and what Customer.io takes, and successes restore it."""
    lane = Lane(0)
    for timeout in timeouts:
        changed = lane.shrink() if timeout else lane.grow()
        assert MIN_BUDGET_BYTES <= lane.budget_bytes <= BODY_MAX_BYTES
        assert isinstance(changed, bool)
    while lane.grow():
        pass
    assert lane.budget_bytes == BODY_MAX_BYTES


def counting(api: Any, answer_s: float) -> tuple[Any, list[int]]:
    """Answer after so long; how many requests were in flight whenever one arrived."""
    in_flight, seen = [0], list[int]()

    async def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        in_flight[0] += 1
        seen.append(in_flight[0])
        await asyncio.sleep(answer_s)
        in_flight[0] -= 1
        return api.ok(operations, body)  # type: ignore[no-any-return]

    return reply, seen


@pytest.mark.parametrize(("answer_s", "most"), [(0.005, 1), (0.015, 2), (0.2, 8), (2.0, 8)])
def test_as_many_lanes_as_the_answers_need(virtual: Virtual, api: Any, make: Any, answer_s: float, most: int) -> None:
    """A request leaves at every turn as long as a lane is free, and no more are in flight than answers take turns."""
    api.last, seen = counting(api, answer_s)
    rig = make.rig(api, lanes=8, rate=100.0)

    async def scenario() -> None:
        async with rig:
            for offset in range(400):
                await rig.take(make.record(f"p{offset}", offset))
                await asyncio.sleep(0.005)
            await rig.settled()

    virtual(scenario())
    assert max(seen) == most
    assert sorted(n for _, n in api.accepted) == list(range(400))


def test_what_comes_in_leaves_at_the_next_turn(virtual: Virtual, api: Any, make: Any) -> None:
    """However many lanes there are, an operation waits for one turn of the budget, and not for a turn of each lane."""
    rig = make.rig(api, lanes=8, rate=10.0)
    waits: list[float] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        came: dict[int, float] = {}

        def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
            waits.extend(loop.time() - came[one["n"]] for one in operations)
            return api.ok(operations, body)  # type: ignore[no-any-return]

        api.last = reply
        async with rig:
            await asyncio.sleep(1)  # the first turn after an assignment comes later
            for offset in range(300):
                came[offset] = loop.time()
                await rig.take(make.record(f"p{offset}", offset))
                await asyncio.sleep(0.013)
            await rig.settled()

    virtual(scenario())
    assert len(waits) == 300
    assert max(waits) <= 0.1 + 1e-6


def test_a_failing_batch_is_shared_out(virtual: Virtual, api: Any, make: Any) -> None:
    """People who only shared a request with one who makes it fail are through as soon as it has failed twice, long
    before that one is given up."""  # noqa: D205, D209 - one promise

    def broken(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        if any(one.get("poison") for one in operations):
            return httpx.Response(500)
        return api.ok(operations, body)  # type: ignore[no-any-return]

    api.last = broken
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            people = [make.record(f"p{n % 64}", n, **({"poison": True} if n == 20 else {})) for n in range(128)]
            await rig.take(*people)
            await asyncio.sleep(5)
            assert len(api.accepted) >= 112, "all but at most the share of an eighth of the people"
            await rig.take(make.record("p0", 128), make.record("p20", 129))
            await asyncio.sleep(1)
            assert ("p0", 128) in api.accepted, "whoever is decided may go on"
            assert ("p20", 129) not in api.accepted

    virtual(scenario())


def test_nobody_is_in_two_requests(virtual: Virtual, api: Any, make: Any) -> None:
    """Through failures, halves, shares and slow answers a person's operations are sent one request after the other."""
    dice = random.Random(7)
    busy: set[str] = set()

    async def reply(operations: list[dict[str, Any]], body: bytes) -> httpx.Response:
        people = {one["identifiers"]["id"] for one in operations}
        assert busy.isdisjoint(people)
        busy.update(people)
        await asyncio.sleep(dice.choice([0.01, 0.1, 2.0]))
        busy.difference_update(people)
        if any(one.get("poison") for one in operations):
            return httpx.Response(400, json={"errors": [{"reason": "invalid", "field": "name", "message": "bad"}]})
        return httpx.Response(503) if dice.random() < 0.3 else api.ok(operations, body)

    api.last = reply
    rig = make.rig(api, lanes=5, rate=50.0)

    async def scenario() -> None:
        async with rig:
            for offset in range(2_000):
                poison = {"poison": True} if dice.random() < 0.01 else {}
                await rig.take(make.record(f"p{dice.randrange(40)}", offset, barrier=dice.random() < 0.1, **poison))
                await asyncio.sleep(0.01 * dice.random())
            await rig.settled()

    virtual(scenario())
    assert not rig.crashes
    for person in {who for who, _ in api.accepted}:
        own = [n for who, n in api.accepted if who == person]
        assert own == sorted(set(own))
    assert len(api.accepted) + len(rig.producer.letters) == 2_000
