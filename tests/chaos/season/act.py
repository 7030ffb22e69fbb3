"""One fault while it happens: the chain, its own dice, and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.chaos.replicas import Replica
from tests.chaos.season.chain import Chain
from tests.chaos.season.record import Signal, Stage, Stop
from tests.chaos.season.takeovers import AFTER_KILL_S, AFTER_STOP_S

T = TypeVar("T")


@dataclass
class Act:
    """Given to a fault."""

    chain: Chain
    dice: random.Random
    said: list[str] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """A detail for the table."""
        self.said.append(text)

    def one_of(self, choices: Sequence[T]) -> T:
        """Any of them."""
        return self.dice.choice(choices)

    def worker(self, *stages: str) -> Replica:
        """Any worker, or any of these stages."""
        return self.one_of([one for one in self.chain.replicas.workers if not stages or one.stage in stages])

    async def kill(self, worker: Replica, *, disk: bool) -> None:
        """SIGKILL, with a successor; returns when what follows belongs to another fault."""
        self.stopped(worker, "SIGKILL")
        self.chain.replicas.kill(worker, disk=disk)
        await self.settled(worker, self.chain.settings.session_timeout_seconds + AFTER_KILL_S + 2)

    async def restart(self, worker: Replica) -> None:
        """SIGTERM, and a successor once it has ended.

        Raises:
            AssertionError: it did not end with 0.
        """
        self.stopped(worker, "SIGTERM")
        code = await self.chain.replicas.restart(worker)
        assert code == 0, f"{worker.name} ended with {code} on SIGTERM\n{worker.text}"
        await self.settled(worker, AFTER_STOP_S + 2)

    def stopped(self, worker: Replica, how: Signal) -> None:
        """Remember when, for whoever judges the takeover."""
        stage: Stage = worker.stage  # type: ignore[assignment]  # one of the three
        self.stops.append(Stop(time.time(), stage, worker.name, how))

    async def settled(self, worker: Replica, seconds: float) -> None:
        """Wait until the successor is ready, and so long at least: a takeover is judged where nothing else happens.

        The short form does not wait: what comes next meets the takeover.
        """
        if not self.chain.brief:
            await asyncio.gather(self.chain.replicas.ready(worker), asyncio.sleep(seconds))

    async def last(self, brief_s: float, low_s: float, high_s: float) -> float:
        """Let a fault last for a while; how long it was."""
        seconds = brief_s if self.chain.brief else self.dice.uniform(low_s, high_s)
        await asyncio.sleep(seconds)
        return seconds


Fault = Callable[[Act], Awaitable[None]]
