"""What probes can say about a sink that sends nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeline.sink.events import LanesReleased

Virtual = Callable[[Any], Any]


def holding(virtual: Virtual, rig: Any, make: Any, *moments: float, people: int = 40) -> list[str | None]:
    """What is held at these moments, and in the end, when everything is taken again."""

    async def scenario() -> list[str | None]:
        said: list[str | None] = []
        async with rig:
            assert rig.sink.gate.holding is None
            await rig.take(*(make.record(f"p{n}", n) for n in range(people)))
            for moment in moments:
                await asyncio.sleep(moment - asyncio.get_running_loop().time())
                said.append(rig.sink.gate.holding)
            rig.api.last = rig.api.ok
            await rig.settled()
            said.append(rig.sink.gate.holding)
        return said

    return virtual(scenario())  # type: ignore[no-any-return]


def test_an_outage(virtual: Virtual, api: Any, make: Any) -> None:
    """An outage is said with its reason, and counted from the first failure, not from when it was certain."""
    api.last = api.status(503)
    said = holding(virtual, make.rig(api, lanes=8), make, 2, 42, 3600)
    assert said == [
        None,
        "Customer.io takes nothing (503 Service Unavailable) for 42 s; everything waits",
        "Customer.io takes nothing (503 Service Unavailable) for 3600 s; everything waits",
        None,
    ]


def test_a_wrong_region(virtual: Virtual, api: Any, make: Any) -> None:
    """Where we are sent is said, without what may be secret in it."""
    api.last = api.status(301, headers={"Location": "https://key:secret@track-eu.customer.io/api/v2/batch?x=1"})
    _, said, end = holding(virtual, make.rig(api, lanes=8), make, 0, 60)
    told = "the workspace lives elsewhere (301: redirected to https://track-eu.customer.io/api/v2/batch) for "
    assert said is not None
    assert re.fullmatch(re.escape(told) + "(5[0-9]|60) s; everything waits", said)
    assert end is None


def test_a_wait_that_was_asked_for(virtual: Virtual, api: Any, make: Any) -> None:
    """A Retry-After of minutes is said with what is left of it; one of seconds is pace."""
    api.script = [api.status(503, headers={"Retry-After": "120"})]
    said = holding(virtual, make.rig(api, lanes=1), make, 1, 100, 130)
    assert said == [
        "Customer.io asked to wait (503 Service Unavailable) for another 119 s",
        "Customer.io asked to wait (503 Service Unavailable) for another 20 s",
        None,
        None,
    ]
    short = make.api([api.status(503, headers={"Retry-After": "5"})])
    assert holding(virtual, make.rig(short, lanes=1), make, 1) == [None, None]


def test_nothing_but_429(virtual: Virtual, api: Any, make: Any) -> None:
    """When nothing is taken for half a minute because it is too much, that is said, too."""
    api.last = api.status(429)
    said = holding(virtual, make.rig(api, lanes=8), make, 20, 90)
    assert said == [None, "Customer.io takes nothing (429 Too Many Requests) for 90 s", None]


@pytest.mark.parametrize(("status", "cause"), [(503, "outage"), (401, "credentials"), (301, "region")])
def test_a_hold_that_moves_away(virtual: Virtual, api: Any, make: Any, status: int, cause: str) -> None:
    """A sink that has no partition any more does not say for ever what held it; with others it begins anew."""
    api.last = api.status(status)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)))
            await asyncio.sleep(60)
            assert rig.sink.gate.holding is not None
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            rig.assign(2, partitions=0)
            assert rig.sink.gate.holding is None
            assert rig.of(LanesReleased)[-1].cause == cause
            api.last = api.ok
            rig.assign(3)
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)), generation=3)
            await asyncio.sleep(1)
            assert len(api.accepted) == 40, "nobody waits for the next trial of before"

    virtual(scenario())


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_late_answer_holds_nobody(virtual: Virtual, api: Any, make: Any, status: int) -> None:
    """What comes of a request that outlasts its partitions is no reason to say for ever that the sink is held."""
    sent = asyncio.Event()

    async def late(*_: Any) -> httpx.Response:
        sent.set()
        await asyncio.sleep(5)
        return httpx.Response(status)

    api.last = api.status(status)
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(40)))
            await asyncio.sleep(90)
            assert rig.sink.gate.holding is not None
            api.last = late
            await sent.wait()
            rig.assign(2, partitions=0)
            await asyncio.sleep(3600)
            assert rig.sink.gate.holding is None

    virtual(scenario())


def test_one_lane_that_fails_holds_nobody(virtual: Virtual, api: Any, make: Any) -> None:
    """What fails alone, while nobody else is there, is no hold of the sink's."""
    api.last = api.status(500)
    assert holding(virtual, make.rig(api, lanes=8), make, 120, people=1) == [None, None]
