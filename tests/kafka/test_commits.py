"""When offsets are stored, and when they must not be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import pytest
from faust.types import TP

from pipeline.kafka import commits
from pipeline.kafka.commits import Committed, Committer
from pipeline.kafka.events import CommitFailed, OffsetsCommitted, TransportEvent
from pipeline.kafka.watermarks import Watermarks

A = TP("a", 0)


class Group:
    """Stores offsets, or answers what the test wants; `slow` holds an answer back."""

    def __init__(self) -> None:
        self.stored: list[tuple[dict[TP, int], int]] = []
        self.answers: list[Committed] = []
        self.slow = asyncio.Event()
        self.slow.set()
        self.asked = asyncio.Event()
        self.busy = 0
        self.most_busy = 0

    async def store(self, offsets: Mapping[TP, int], generation: int) -> Committed:
        """One request."""
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        self.asked.set()
        await self.slow.wait()
        self.busy -= 1
        answer = self.answers.pop(0) if self.answers else Committed.STORED
        if answer is Committed.STORED:
            self.stored.append((dict(offsets), generation))
        return answer


class Setting:
    """A committer of one partition with 100 delivered records, single chunk each."""

    def __init__(self) -> None:
        self.group = Group()
        self.events: list[TransportEvent] = []
        self.watermarks = Watermarks()
        self.watermarks.restart(3, {A: 0})
        self.committer = Committer(self.watermarks, self.group.store, self.events.append)
        for offset in range(100):
            self.watermarks.of(A).deliver(offset, offset)

    def acknowledge(self, offset: int) -> None:
        """The record is done."""
        self.watermarks.of(A).acknowledge(offset, offset, offset)
        self.committer.moved()


async def test_a_commit_stores_the_watermark() -> None:
    """Under the generation that the records were delivered in, once, and observers hear of it."""
    setting = Setting()
    setting.acknowledge(0)
    assert await setting.committer.commit() is Committed.STORED
    assert await setting.committer.commit() is Committed.STORED
    assert setting.group.stored == [({A: 1}, 3)]
    assert [type(event) for event in setting.events] == [OffsetsCommitted]


async def test_commits_do_not_overlap() -> None:
    """A second commit waits for the first and stores what is done by then; offsets cannot overtake each other."""
    setting = Setting()
    setting.acknowledge(0)
    setting.group.slow.clear()
    first = asyncio.ensure_future(setting.committer.commit())
    await setting.group.asked.wait()
    second = asyncio.ensure_future(setting.committer.commit())
    setting.acknowledge(1)
    setting.acknowledge(2)
    setting.group.slow.set()
    await asyncio.gather(first, second)
    assert setting.group.stored == [({A: 1}, 3), ({A: 3}, 3)]
    assert setting.group.most_busy == 1


async def test_a_stale_commit_is_given_up() -> None:
    """When the generation is over nothing is stored and nothing is marked as stored."""
    setting = Setting()
    setting.acknowledge(0)
    setting.group.answers = [Committed.STALE]
    assert await setting.committer.commit() is Committed.STALE
    assert setting.watermarks.committable() == {A: 1}
    assert [event.stale for event in setting.events if isinstance(event, CommitFailed)] == [True]


async def running(setting: Setting, until: int) -> None:
    """Let the committer run until so many commits are stored."""
    task = asyncio.ensure_future(setting.committer.run())
    async with asyncio.timeout(300):
        while len(setting.group.stored) < until:
            setting.group.asked.clear()
            await setting.group.asked.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_acknowledgements_share_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is stored at once, those of the next moments with one request."""
    monkeypatch.setattr(commits, "COALESCE_S", 0.05)
    setting = Setting()
    task = asyncio.ensure_future(running(setting, until=2))
    setting.acknowledge(0)
    await setting.group.asked.wait()
    for offset in range(1, 10):
        setting.acknowledge(offset)
    await task
    assert [offsets for offsets, _ in setting.group.stored] == [{A: 1}, {A: 10}]


async def test_a_coordinator_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another acknowledgement, with what is done by then."""
    monkeypatch.setattr(commits, "COALESCE_S", 0.0)
    monkeypatch.setattr(commits, "RETRY_S", 0.0)
    setting = Setting()
    setting.group.answers = [Committed.UNAVAILABLE, Committed.UNAVAILABLE]
    setting.acknowledge(0)
    await running(setting, until=1)
    assert setting.group.stored == [({A: 1}, 3)]
    assert [event.stale for event in setting.events if isinstance(event, CommitFailed)] == [False, False]
