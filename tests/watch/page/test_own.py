"""The document of this process, made when somebody asks."""

from __future__ import annotations

import asyncio

from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Look
from pipeline.watch.page.own import Own
from tests.watch.page.building import look


class Watched:
    """A process that counts how often it was looked at, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0
        self.metrics = Metrics("sink")
        self.accepted = self.metrics.counter("operations_accepted", "Operations.")
        self.own = Own("sink", self._look, monotonic=lambda: self.now, unix=lambda: 1000.0 + self.now)

    async def _look(self) -> Look:
        self.looks += 1
        await asyncio.sleep(0)
        return look(families=list(self.metrics.registry.collect()))


async def test_at_most_once_a_second() -> None:
    """However many pages are open, a process is looked at once a second; while none is, never."""
    watched = Watched()
    assert watched.looks == 0
    made = await asyncio.gather(*(watched.own.document() for _ in range(10)))
    assert watched.looks == 1
    watched.now += 0.9
    assert await watched.own.document() == made[0]
    watched.now += 0.1
    assert (await watched.own.document()).at_ms == made[0].at_ms + 1000
    assert watched.looks == 2


async def test_the_rate_is_between_looks() -> None:
    """What was done since the last look, by the second."""
    watched = Watched()
    assert (await watched.own.document()).rate_per_second is None
    watched.accepted.inc(50)
    watched.now += 2
    document = await watched.own.document()
    assert (document.done, document.rate_per_second) == (50, 25.0)


async def test_a_process_is_told_apart() -> None:
    """By a name of its own, which stays, and by when it was started."""
    one, other = Watched(), Watched()
    first = await one.own.document()
    one.now += 5
    second = await one.own.document()
    assert first.process == second.process != (await other.own.document()).process
    assert first.started_at_ms == second.started_at_ms == 1_100_000


async def test_a_failing_look_is_tried_again() -> None:
    """It costs the one who asked an answer, and nobody after him."""
    failing = [True]

    async def once() -> Look:
        if failing.pop() if failing else False:
            raise RuntimeError("no coordinator")
        return look()

    own = Own("sink", once)
    try:
        await own.document()
    except RuntimeError:
        assert (await own.document()).ready
    else:
        raise AssertionError("the first look has failed")
