"""First to start, last to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.errors import BrokerUnreachableError
from pipeline.kafka.worker.lifespan import Companions


def step(said: list[str], word: str, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
    """Something to start or stop."""

    async def run() -> None:
        said.append(word)
        if error is not None:
            raise error

    return run


async def test_they_stop_in_the_opposite_order() -> None:
    """What was built on another companion ends before it; one that fails does not keep the others."""
    said: list[str] = []
    companions = Companions()
    companions.add(step(said, "client"), step(said, "-client"))
    companions.add(step(said, "producer"), step(said, "-producer", RuntimeError("a bug")))
    companions.add(step(said, "server"), step(said, "-server"))
    await companions.start()
    await companions.stop()
    assert said == ["client", "producer", "server", "-server", "-producer", "-client"]


async def test_only_what_was_started_is_stopped() -> None:
    """A start that fails ends the worker, and leaves nothing running."""
    said: list[str] = []
    companions = Companions()
    companions.add(step(said, "client"), step(said, "-client"))
    companions.add(step(said, "producer", BrokerUnreachableError("no broker")), step(said, "-producer"))
    companions.add(step(said, "server"), step(said, "-server"))
    with pytest.raises(BrokerUnreachableError):
        await companions.start()
    await companions.stop()
    assert said == ["client", "producer", "-client"]


async def test_a_stop_during_the_start_leaves_nothing_running() -> None:
    """Neither the one that was starting, which nobody had to stop yet, nor those that would have followed it."""
    said: list[str] = []
    starting, may_go_on = asyncio.Event(), asyncio.Event()
    companions = Companions()

    async def slow() -> None:
        starting.set()
        await may_go_on.wait()
        said.append("producer")

    companions.add(step(said, "client"), step(said, "-client"))
    companions.add(slow, step(said, "-producer"))
    companions.add(step(said, "server"), step(said, "-server"))
    start = asyncio.create_task(companions.start())
    await starting.wait()
    await companions.stop()
    may_go_on.set()
    await start
    assert said == ["client", "-client", "producer", "-producer"]
