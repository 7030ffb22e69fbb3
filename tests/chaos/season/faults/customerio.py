"""Faults of Customer.io, by its stand-in's fault script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.chaos.season.act import Act

BATCH: Final = {"path": "/api/v2/batch"}
REFUSABLE: Final = ("payment_completed", "payment_failed", "subscription_renewed", "subscription_started")
TAKEN_WITHIN_S: Final = 10.0
"""How long steps wait for requests that take them; with little traffic some are not."""

LATEST_S: Final = 9
"""Later than the sink waits for an answer."""


@asynccontextmanager
async def _script(act: Act, *steps: dict[str, Any]) -> AsyncIterator[None]:
    await act.chain.view.script(steps)
    try:
        yield
    finally:
        await act.chain.view.script(())


async def _while_taken(act: Act, *steps: dict[str, Any]) -> int:
    """Steps that hold for single requests, until all are taken; how many were."""
    async with _script(act, *steps):
        until = time.monotonic() + (2 if act.chain.brief else TAKEN_WITHIN_S)
        while True:
            state = await act.chain.view.steps()
            if all(step["spent"] for step in state) or time.monotonic() > until:
                return sum(int(step["taken"]) for step in state)
            await asyncio.sleep(0.1)


async def throttled(act: Act) -> None:
    """429 to everything."""
    async with _script(act, {"status": 429, "retry_after": 1, "times": "always"}):
        seconds = await act.last(1, 2, 8)
    act.say(f"for {seconds:.0f} s")


async def down(act: Act) -> None:
    """503 to everything."""
    async with _script(act, {"status": 503, "times": "always"}):
        seconds = await act.last(1, 2, 12)
    act.say(f"for {seconds:.0f} s")


async def answers_lost(act: Act) -> None:
    """Some batches are taken, and nobody says so."""
    times = act.dice.randint(2, 8)
    taken = await _while_taken(act, {"match": BATCH, "drop": "after", "times": times})
    act.say(f"{taken} of {times}")


async def partly_refused(act: Act) -> None:
    """Some events are refused for good."""
    times = act.dice.randint(1, 3)
    steps = [{"match": {"name": name}, "refuse_items": "matched", "times": times} for name in REFUSABLE]
    taken = await _while_taken(act, *steps)
    act.say(f"in {taken} batches")


async def slow(act: Act) -> None:
    """Some batches are answered late, some too late."""
    late_s = round(act.dice.uniform(0.5, 3), 1)
    steps = [{"match": BATCH, "delay_after_s": late_s, "times": 6}]
    if not act.chain.brief:
        steps.append({"match": BATCH, "delay_after_s": LATEST_S, "times": 2})
    taken = await _while_taken(act, *steps)
    await asyncio.sleep(late_s if act.chain.brief else LATEST_S)  # the last answer is not given before
    act.say(f"{taken} batches by {late_s} s" + ("" if act.chain.brief else f", of them two by {LATEST_S} s"))


async def key_rotated(act: Act) -> None:
    """The old key is refused; after a while every sink is started again with the new one."""
    act.chain.rotate_key()
    seconds = await act.last(1, 2, 6)
    for worker in act.chain.replicas.of("sink"):
        await act.restart(worker, judged=False)
    act.say(f"held for {seconds:.0f} s, then both sinks with the new key")
