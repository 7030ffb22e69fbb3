"""When offsets are stored, and when they must not be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from faust.types import TP

from pipeline.kafka.events import CommitFailed, OffsetsCommitted, TransportEvent
from pipeline.kafka.worker import commits
from pipeline.kafka.worker.commits import Committed, Committer
from pipeline.kafka.worker.done_ahead import Witness, parted
from pipeline.kafka.worker.watermarks import Watermarks
from tests.virtual import run_virtual

A = TP("a", 0)
B = TP("a", 1)


class Group:
    """Stores offsets, or answers what the test wants; `slow` holds an answer back."""

    def __init__(self) -> None:
        self.stored: list[tuple[dict[TP, int], int]] = []
        self.notes: list[dict[TP, str]] = []
        self.answers: list[Committed] = []
        self.slow = asyncio.Event()
        self.slow.set()
        self.asked = asyncio.Event()
        self.busy = 0
        self.most_busy = 0

    async def store(self, offsets: Mapping[TP, int], generation: int, notes: Mapping[TP, str]) -> Committed:
        """One request."""
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        self.asked.set()
        await self.slow.wait()
        self.busy -= 1
        answer = self.answers.pop(0) if self.answers else Committed.STORED
        if answer is Committed.STORED:
            self.stored.append((dict(offsets), generation))
            self.notes.append(dict(notes))
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


async def test_a_note_goes_beside_the_lowest_partition() -> None:
    """With the offset that is there already, and with every later one until it is replaced; the others have none."""
    setting = Setting()
    setting.watermarks.restart(3, {B: 7, A: 40})
    for tp, offset in ((A, 40), (A, 41), (B, 7)):
        setting.watermarks.of(tp).deliver(offset, offset)
    setting.committer.note("I want more", 3)
    assert await setting.committer.commit() is Committed.STORED
    setting.watermarks.of(A).acknowledge(40, 40, 40)
    await setting.committer.commit()
    setting.watermarks.of(B).acknowledge(7, 7, 7)
    await setting.committer.commit()
    setting.committer.note("", 3)
    await setting.committer.commit()
    setting.watermarks.of(A).acknowledge(41, 41, 41)
    await setting.committer.commit()
    assert await setting.committer.commit() is Committed.STORED
    assert [offsets for offsets, _ in setting.group.stored] == [{A: 40}, {A: 41}, {B: 8}, {A: 41}, {A: 42}]
    assert setting.group.notes == [{A: "I want more"}, {A: "I want more"}, {}, {}, {}]


async def test_a_note_alone_is_no_news() -> None:
    """Nobody is told of a commit, or of one that failed, in which no offset moved."""
    setting = Setting()
    setting.committer.note("I want more", 3)
    setting.group.answers = [Committed.UNAVAILABLE]
    assert await setting.committer.commit() is Committed.UNAVAILABLE
    assert await setting.committer.commit() is Committed.STORED
    assert setting.events == []


async def test_a_note_does_not_outlive_its_generation() -> None:
    """Neither what was stored nor what waits is said again in the next one."""
    setting = Setting()
    setting.committer.note("I want more", 3)
    await setting.committer.commit()
    setting.committer.note("I lend", 3)
    setting.watermarks.restart(4, {A: 0})
    setting.watermarks.of(A).deliver(0, 0)
    assert await setting.committer.commit() is Committed.STORED
    setting.acknowledge(0)
    await setting.committer.commit()
    assert setting.group.stored == [({A: 0}, 3), ({A: 1}, 4)]
    assert setting.group.notes == [{A: "I want more"}, {}]


async def test_a_note_wakes_the_committer() -> None:
    """It is stored although nothing is acknowledged."""
    setting = Setting()
    task = asyncio.ensure_future(running(setting, until=1))
    await asyncio.sleep(0)
    setting.committer.note("I want more", 3)
    await task
    assert setting.group.notes == [{A: "I want more"}]


async def test_brokers_that_take_no_note() -> None:
    """The offsets are stored without it, and no later commit has one."""
    setting = Setting()
    setting.acknowledge(0)
    setting.committer.note("I want more", 3)
    setting.group.answers = [Committed.NOTE_REFUSED]
    assert await setting.committer.commit() is Committed.STORED
    setting.committer.note("I want even more", 3)
    setting.acknowledge(1)
    await setting.committer.commit()
    assert not setting.committer.takes_notes
    assert setting.group.stored == [({A: 1}, 3), ({A: 2}, 3)]
    assert setting.group.notes == [{}, {}]
    assert [type(event) for event in setting.events] == [OffsetsCommitted, OffsetsCommitted]


async def test_without_partitions_a_note_waits() -> None:
    """There is no place for it."""
    setting = Setting()
    setting.watermarks.restart(3, {})
    setting.committer.note("I want more", 3)
    assert await setting.committer.commit() is Committed.STORED
    assert setting.group.stored == []


class Ahead(Setting):
    """The same, with every second of the records behind the first done."""

    def __init__(self) -> None:
        super().__init__()
        watermark = self.watermarks.of(A)
        watermark.saw(Witness(99, 1))
        for offset in range(1, 100, 2):
            watermark.ask(offset, offset, lambda: 1)
        self.ahead = watermark.done_ahead()


async def test_what_is_done_ahead_lies_beside_the_offset() -> None:
    """Though the offset does not move, before the note, once; when all before it is done it goes."""
    setting = Ahead()
    setting.committer.note("I want more", 3)
    await setting.committer.commit()
    await setting.committer.commit()
    assert setting.group.stored == [({A: 0}, 3)]
    assert parted(setting.group.notes[0][A]) == (setting.ahead, "I want more")
    for offset in range(100):
        setting.acknowledge(offset)
    await setting.committer.commit()
    assert (setting.group.stored[1:], setting.group.notes[1:]) == ([({A: 100}, 3)], [{A: "I want more"}])


@pytest.mark.parametrize(("many", "pause_s"), [(99, commits.COALESCE_S), (100, commits.COALESCE_AHEAD_S)])
def test_how_soon_the_next_commit_comes(many: int, pause_s: float) -> None:
    """A few records that are done ahead, as at low load, share a request for as long as others do; many do not."""

    async def story() -> list[float]:
        setting = Setting()
        watermark = setting.watermarks.of(A)
        watermark.saw(Witness(many, 1))
        watermark.ask(1, 1, lambda: (1 << many) - 1)
        times: list[float] = []

        async def store(*request: Any) -> Committed:
            times.append(asyncio.get_running_loop().time())
            watermark.saw(Witness(many + len(times), 1))  # another text
            setting.committer.moved()
            return await setting.group.store(*request)

        setting.committer = Committer(setting.watermarks, store, setting.events.append)
        setting.committer.moved()
        await running(setting, until=3)
        return times

    first, second, third = run_virtual(story())
    assert (second - first, third - second) == pytest.approx((pause_s, pause_s))


async def test_brokers_that_keep_little_are_told_less() -> None:
    """Half of the room after each refusal, then none, and the note goes last."""
    setting = Ahead()
    setting.committer.note("I want more", 3)
    setting.group.answers = [Committed.NOTE_REFUSED] * 5
    assert await setting.committer.commit() is Committed.STORED
    assert setting.committer.room < commits.LEAST_CHARS < commits.TEXT_CHARS
    setting.group.answers = [Committed.NOTE_REFUSED] * 2
    setting.acknowledge(0)
    assert await setting.committer.commit() is Committed.STORED
    assert not setting.committer.takes_notes
    assert (setting.group.stored[-1], setting.group.notes[-1]) == (({A: 1}, 3), {})
