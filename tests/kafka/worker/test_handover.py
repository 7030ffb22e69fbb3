"""In flight ends, done is committed, then the partitions go."""

from __future__ import annotations

import asyncio

import pytest
from faust.types import TP

from pipeline.kafka.worker import handover
from pipeline.kafka.worker.handover import GRACE_S, hand_over
from pipeline.kafka.worker.watermarks import Watermarks

A = TP("a", 0)


class Stage:
    """Writes down what is asked of it; `work` is what `drained` waits for."""

    def __init__(self, watermarks: Watermarks) -> None:
        self.said: list[str] = []
        self.vain = False
        self.work = asyncio.Event()
        self.work.set()
        self._watermarks = watermarks

    def begin(self) -> None:
        """Begin nothing new."""
        self.said.append("begin")

    async def drained(self) -> None:
        """The chunk in flight is done when it ends."""
        await self.work.wait()
        self._watermarks.of(A).acknowledge(0, 9, 9)
        self.said.append("drained")

    def is_vain(self) -> bool:
        """As the test says."""
        return self.vain

    def abandon(self) -> None:
        """The grace is over."""
        self.said.append("abandon")

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Not part of a hand-over."""
        raise AssertionError((generation, assigned))


class Setting:
    """One partition with a chunk in flight."""

    def __init__(self) -> None:
        self.watermarks = Watermarks()
        self.watermarks.restart(3, {A: 0})
        self.watermarks.of(A).deliver(0, 9)
        self.stage = Stage(self.watermarks)
        self.broker = asyncio.Event()
        self.broker.set()

    async def commit(self) -> None:
        """The broker takes it when it is there."""
        await self.broker.wait()
        self.stage.said.append("commit")
        self.watermarks.committed(3, self.watermarks.committable())


async def test_the_commit_comes_after_the_work() -> None:
    """What was in flight is finished and stored."""
    setting = Setting()
    ended = await hand_over(setting.stage, setting.watermarks, setting.commit, GRACE_S)
    assert setting.stage.said == ["begin", "drained", "commit"]
    assert (ended.drained, ended.committed, ended.unfinished, ended.generation) == (True, True, 0, 3)


@pytest.mark.parametrize("grace_s", [0.0, 0.01])
async def test_work_that_hangs_is_left_after_the_grace(grace_s: float) -> None:
    """It is abandoned, and its records stay unacknowledged; what else is done is committed."""
    setting = Setting()
    setting.stage.work.clear()
    ended = await hand_over(setting.stage, setting.watermarks, setting.commit, grace_s)
    assert setting.stage.said == ["begin", "abandon", "commit"]
    assert (ended.drained, ended.committed, ended.unfinished) == (False, True, 1)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_grace_that_is_vain_ends_at_once(is_late: bool) -> None:
    """A process that was frozen past its session has lost all: nobody waits, from the start or once that is known."""
    setting = Setting()
    setting.stage.work.clear()
    setting.stage.vain = not is_late
    ending = asyncio.ensure_future(hand_over(setting.stage, setting.watermarks, setting.commit, 3600.0))
    if is_late:
        await asyncio.sleep(0)
        assert setting.stage.said == ["begin"]
        setting.stage.vain = True
    ended = await ending
    assert setting.stage.said == ["begin", "abandon", "commit"]
    assert (ended.drained, ended.unfinished) == (False, 1)


async def test_what_is_done_is_no_vain_work() -> None:
    """With nothing in flight the hand-over is in order, whoever the partitions belong to by now."""
    setting = Setting()
    setting.stage.vain = True
    ended = await hand_over(setting.stage, setting.watermarks, setting.commit, 3600.0)
    assert setting.stage.said == ["begin", "drained", "commit"]
    assert ended.drained


async def test_a_broker_that_hangs_does_not_cost_the_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is given up after its limit; the hand-over says that something is not stored."""
    monkeypatch.setattr(handover, "COMMIT_S", 0.01)
    setting = Setting()
    setting.broker.clear()
    ended = await hand_over(setting.stage, setting.watermarks, setting.commit, GRACE_S)
    assert (ended.drained, ended.committed) == (True, False)


async def test_a_stage_that_fails_does_not_cost_the_commit() -> None:
    """Its error ends the worker, after what is done was stored."""
    setting = Setting()

    async def drained() -> None:
        setting.watermarks.of(A).acknowledge(0, 9, 4)
        raise RuntimeError("a bug")

    setting.stage.drained = drained  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a bug"):
        await hand_over(setting.stage, setting.watermarks, setting.commit, GRACE_S)
    assert setting.watermarks.committable() == {}
    assert setting.stage.said == ["begin", "commit"]


async def test_without_a_stage_only_the_commit_is_left() -> None:
    """An app whose agent finishes each chunk before the next needs no hand-over of its own."""
    setting = Setting()
    setting.watermarks.of(A).acknowledge(0, 9, 9)
    ended = await hand_over(None, setting.watermarks, setting.commit, GRACE_S)
    assert (ended.drained, ended.committed, ended.unfinished) == (True, True, 0)
