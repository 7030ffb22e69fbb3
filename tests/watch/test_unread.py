"""What lies at the brokers, as far as they say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import LeaderNotAvailableError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition
from faust.types import TP

from pipeline.watch import unread
from pipeline.watch.unread import _unread

TOPIC = "webhooks"


class Consumer:
    """The driver's, of which `ends` are the answers: an offset, an error, or None for silence."""

    def __init__(self, *ends: int | Exception | None) -> None:
        self._ends = ends

    def assignment(self) -> set[TopicPartition]:
        """As many as there are answers."""
        return {TopicPartition(TOPIC, number) for number in range(len(self._ends))}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The answer about one partition."""
        (tp,) = tps
        end = self._ends[tp.partition]
        if end is None:
            await asyncio.Event().wait()
        if isinstance(end, Exception):
            raise end
        return {tp: end or 0}

    async def position(self, _: TopicPartition) -> int:
        """The same everywhere."""
        return 10


async def answers(*ends: int | Exception | None) -> tuple[dict[TP, int], set[TP]]:
    """What is asked for and what comes of it."""
    consumer: Any = Consumer(*ends)
    found, away = await _unread(consumer)
    return found, set(away)


async def test_each_partition_is_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a leader, or a broker that says nothing, leaves the others their answer, and is nobody's fault."""
    monkeypatch.setattr(unread, "WITHIN_S", 0.05)
    found, away = await answers(17, LeaderNotAvailableError(), 10, None, 3)
    assert found == {TP(TOPIC, 0): 7, TP(TOPIC, 2): 0, TP(TOPIC, 4): 0}
    assert away == {TP(TOPIC, 1), TP(TOPIC, 3)}


async def test_what_is_no_outage() -> None:
    """An answer that no waiting will mend, or that is a bug of ours, excuses nobody."""
    assert await answers(TopicAuthorizationFailedError(TOPIC), ValueError()) == ({}, set())
    assert await answers() == ({}, set())
