"""Half an hour without Customer.io: nothing lost, nothing doubled, nothing out of order, and little said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from pipeline.sink import gate, trouble
from pipeline.sink.events import LanesHeld, LanesReleased, RetryPlanned

Virtual = Callable[[Any], Any]

HALF_AN_HOUR_S = 1800


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("how", ["refused connections", "503", "cut answers", "silence", "401", "301"])
def test_half_an_hour(
    virtual: Virtual, api: Any, make: Any, monkeypatch: pytest.MonkeyPatch, *, how: str, lanes: int
) -> None:
    """30 minutes of it under a steady stream: memory and requests bounded, then everything once and in order."""
    journal = CapturingLogger()
    monkeypatch.setattr(gate, "log", structlog.wrap_logger(journal, processors=[lambda _, __, event: ((), event)]))
    broken = {
        "refused connections": api.unreachable,
        "503": api.status(503),
        "cut answers": api.lost,
        "silence": api.silent,
        "401": api.status(401),
        "301": api.status(301, headers={"Location": "https://track-eu.customer.io/"}),
    }[how]
    rig = make.rig(api, lanes=lanes, memory_bytes=200_000)
    highest = 0

    async def feed() -> None:
        nonlocal highest
        for start in range(0, 4000, 20):
            await rig.take(*(make.record(f"p{n % 60}", n) for n in range(start, start + 20)))
            highest = max(highest, rig.sink.memory.taken_bytes)
            await asyncio.sleep(1)

    async def scenario() -> None:
        async with rig:
            feeding = asyncio.create_task(feed())
            await asyncio.sleep(10)
            api.last = broken
            await asyncio.sleep(HALF_AN_HOUR_S)
            assert rig.sink.gate.held is not None
            assert not feeding.done()
            api.last = api.ok
            await feeding
            await rig.settled()
            assert rig.sink.gate.held is None

    virtual(scenario())
    assert highest <= 200_000
    during = [at for at, _ in api.requests if 40 + 20 <= at < HALF_AN_HOUR_S + 10]
    assert len(during) < HALF_AN_HOUR_S / 60 + 15
    assert all(later - earlier >= 4.9 for earlier, later in pairwise(during[8:]))
    first = list(dict.fromkeys(api.accepted))
    assert sorted(n for _, n in first) == list(range(4000))
    for person in {who for who, _ in first}:
        own = [n for who, n in first if who == person]
        assert own == sorted(own)
    if how != "cut answers":
        assert len(first) == len(api.accepted), "nothing was accepted and repeated"
    assert rig.producer.letters == []
    assert rig.acked[0][-1] == 3999
    cause = {"401": "credentials", "301": "region"}.get(how, "outage")
    assert {event.cause for event in rig.of(LanesHeld)} == {cause}
    assert [event.cause for event in rig.of(LanesReleased)] == [cause]
    told = [call for call in journal.calls if call.kwargs["cause"] == cause]
    assert len(told) == 2, "one line when it begins and one when it ends"


@pytest.mark.parametrize("lanes", [8, 64])
def test_a_storm_is_told_in_four_lines(
    virtual: Virtual, api: Any, make: Any, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    """However many lanes fail: that requests fail, that all are held, within seconds, and both ends, with a count."""
    journal = CapturingLogger()
    for module in (gate, trouble):
        monkeypatch.setattr(module, "log", structlog.wrap_logger(journal, processors=[lambda _, __, e: ((), e)]))
    api.last = api.status(503)
    rig = make.rig(api, lanes=lanes)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 300}", n) for n in range(3000)))
            await asyncio.sleep(15)
            assert rig.sink.gate.held == "outage"
            await asyncio.sleep(HALF_AN_HOUR_S)
            api.last = api.ok
            await rig.settled()
            await asyncio.sleep(120)

    virtual(scenario())
    fails, held, freed, passes = (call.kwargs for call in journal.calls)
    assert fails["reason"] == held["reason"] == "503 Service Unavailable"
    assert freed["held_s"] > HALF_AN_HOUR_S
    assert (passes["failures"], passes["lanes"]) == (len(rig.of(RetryPlanned)), lanes)


def test_repeats_are_the_same_bytes(virtual: Virtual, api: Any, make: Any) -> None:
    """Through an outage with lost answers what was accepted is sent again byte for byte, or as single operations."""
    api.last = api.lost
    rig = make.rig(api, lanes=2)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n % 9}", n) for n in range(100)))
            await asyncio.sleep(600)
            api.last = api.ok
            await rig.settled()

    virtual(scenario())
    values = {make.operation(f"p{n % 9}", n) for n in range(100)}
    for _, body in api.requests:
        sent = body.removeprefix(b'{"batch":[').removesuffix(b"]}").replace(b"},{", b"}\n{").split(b"\n")
        assert set(sent) <= values


def test_a_hand_over_during_an_outage_is_immediate(virtual: Virtual, api: Any, make: Any) -> None:
    """Nobody waits for an outage to end before the partitions go, and under the next generation it goes on."""
    api.last = api.unreachable
    rig = make.rig(api, lanes=8)

    async def scenario() -> None:
        async with rig:
            await rig.take(*(make.record(f"p{n}", n) for n in range(100)))
            await asyncio.sleep(600)
            before = asyncio.get_running_loop().time()
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert asyncio.get_running_loop().time() == before
            assert rig.sink.memory.taken_bytes == 0
            rig.assign(2)
            api.last = api.ok
            await rig.take(*(make.record(f"p{n}", n) for n in range(100)), generation=2)
            await rig.settled()

    virtual(scenario())
    assert sorted(n for _, n in api.accepted) == list(range(100))
