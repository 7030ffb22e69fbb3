"""A join that was asked for and does not begin ends the worker; one that only takes its time does not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from pipeline.kafka.worker.joining import HUNG_LOOKS, JoinWatch

HOUR: Final = 3_600
"""Looks."""


def coordinator(*, is_asked: bool, is_known: bool = True) -> Any:
    """aiokafka's, whose group is to be joined again."""
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if is_asked:
        asked.set_result(None)
    return SimpleNamespace(_rejoin_needed_fut=asked, coordinator_id=1 if is_known else None)


async def test_a_coordination_that_hangs() -> None:
    """The group's coordinator is known, and the join does not begin: after a minute it is said what hangs."""
    watch, hung = JoinWatch(), coordinator(is_asked=True)
    looks = [watch.look(hung, has_begun=False) for _ in range(HUNG_LOOKS + 1)]
    assert looks[:-1] == [None] * HUNG_LOOKS
    assert "coordination hangs" in str(looks[-1])


async def test_what_takes_its_time_does_not_hang() -> None:
    """A join that has begun, brokers that are away, and a group that nobody asked to join again, however long."""
    watch = JoinWatch()
    for one, has_begun in (
        (coordinator(is_asked=True), True),
        (coordinator(is_asked=True, is_known=False), False),
        (coordinator(is_asked=False), False),
    ):
        assert [watch.look(one, has_begun=has_begun) for _ in range(HOUR)] == [None] * HOUR


async def test_each_join_has_its_own_time() -> None:
    """Joins that begin after a while each, one after the other, add up to nothing."""
    watch, asked, joined = JoinWatch(), coordinator(is_asked=True), coordinator(is_asked=False)
    for _ in range(10):
        assert [watch.look(asked, has_begun=False) for _ in range(HUNG_LOOKS)] == [None] * HUNG_LOOKS
        assert watch.look(joined, has_begun=True) is None
