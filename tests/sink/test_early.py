"""Profiles whose time is ahead of the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import NOT_BEFORE
from pipeline.sink.early import MAX_HOLD_S, Early
from tests.sink.conftest import TOPIC

Virtual = Callable[[Any], Any]

NOW_S = 1_790_000_000
FIRST = {"not_before_s": NOW_S + 7, "barrier": True}


def early(make: Any, offset: int, not_before_s: int, *, barrier: bool = False) -> Any:
    """A profile of ann that may leave at that time."""
    record = make.record("ann", offset, barrier=barrier)
    return replace(record, headers=((NOT_BEFORE, b"%d" % not_before_s), *record.headers))


@pytest.fixture
def timed(rig: Any) -> Any:
    """The rig, whose unix time is the virtual loop's."""
    rig.unix = lambda: NOW_S + asyncio.get_running_loop().time()
    return rig


def test_it_waits_and_nothing_else_does(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """The person's other operations and everybody else's go on; the offset waits for it."""

    async def story() -> None:
        async with timed as rig:
            await rig.take(early(make, 0, NOW_S + 7), make.record("ann", 1), make.record("bob", 2))
            await asyncio.sleep(6.9)
            assert api.accepted == [("ann", 1), ("bob", 2)]
            assert rig.acked == {0: []}
            await rig.settled()
            assert api.accepted[2:] == [("ann", 0)]
            assert api.requests[-1][0] == pytest.approx(7, abs=0.1)
            assert rig.acked[0][-1] == 2

    virtual(story())


@pytest.mark.parametrize("when", [{"not_before_s": NOW_S}, {"not_before_s": NOW_S - 5}, FIRST])
def test_what_need_not_wait(virtual: Virtual, timed: Any, api: Any, make: Any, when: dict[str, Any]) -> None:
    """A time that has come, and a person's first profile, behind which the person's events wait."""

    async def story() -> None:
        async with timed as rig:
            await rig.take(early(make, 0, **when), make.record("ann", 1))
            await rig.settled()
            assert api.requests[-1][0] < 1
            assert api.accepted == [("ann", 0), ("ann", 1)]

    virtual(story())


def test_a_removal_ends_the_wait(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """Behind it the profile would bring the person back who asked to be forgotten; another's waits on."""

    async def story() -> None:
        async with timed as rig:
            bob = replace(make.record("bob", 1), headers=early(make, 1, NOW_S + 9).headers)
            removal = replace(make.record("ann", 2), value=make.operation("ann", 2, action="delete"))
            await rig.take(early(make, 0, NOW_S + 9), bob, removal)
            await asyncio.sleep(1)
            assert api.accepted == [("ann", 0), ("ann", 2)]
            await rig.settled()
            assert api.accepted[2:] == [("bob", 1)]

    virtual(story())


def test_a_removal_that_is_not_sent_ends_no_wait(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """It becomes a dead letter, and the profile waits for its time."""

    async def story() -> None:
        async with timed as rig:
            request = make.record("ann", 1)
            value = make.operation("ann", 1, action="delete")
            odd = UnreadableRecord(TOPIC, 0, 1, request.timestamp, 0, request.key, value, (), "a name is not UTF-8")
            await rig.take(early(make, 0, NOW_S + 9), odd)
            await asyncio.sleep(1)
            assert api.accepted == []
            assert len(rig.producer.letters) == 1
            await rig.settled()
            assert api.accepted == [("ann", 0)]

    virtual(story())


def test_a_clock_that_is_wrong(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """The wait has an end, whatever the header says."""

    async def story() -> None:
        async with timed as rig:
            await rig.take(early(make, 0, NOW_S + 10_000_000))
            await rig.settled()
            assert api.requests[-1][0] == pytest.approx(MAX_HOLD_S, abs=0.1)

    virtual(story())


def test_a_hand_over_repeats_nothing(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """What stands in front of something that was accepted is sent at once, and all of it is acknowledged."""

    async def story() -> None:
        async with timed as rig:
            await rig.take(early(make, 0, NOW_S + 60), make.record("ann", 1))
            await asyncio.sleep(1)
            assert api.accepted == [("ann", 1)]
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert api.accepted == [("ann", 1), ("ann", 0)]
            assert rig.acked[0][-1] == 1
            assert len(rig.sink.early) == 0

    virtual(story())


def test_a_hand_over_leaves_what_nobody_passed(virtual: Virtual, timed: Any, api: Any, make: Any) -> None:
    """It is the next owner's, who sends it when its time has come; here nothing of it is left."""

    async def story() -> None:
        async with timed as rig:
            await rig.take(early(make, 0, NOW_S + 60))
            await asyncio.sleep(1)
            rig.sink.handover.begin()
            await rig.sink.handover.drained()
            assert api.accepted == []
            assert rig.acked == {0: []}
            rig.assign(2)
            await rig.take(early(make, 0, NOW_S + 60), generation=2)
            await rig.settled()
            assert api.accepted == [("ann", 0)]
            assert api.requests[-1][0] == pytest.approx(60, abs=0.1)
            assert rig.sink.memory.taken_bytes == 0

    virtual(story())


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"\xff"])
def test_a_header_that_is_no_time(value: bytes) -> None:
    """Nobody waits for it."""
    assert Early(lambda: NOW_S).delay_s(((NOT_BEFORE, value),)) == 0
