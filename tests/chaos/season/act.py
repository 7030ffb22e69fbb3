"""One fault while it happens: the chain, its own dice, and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tests.chaos.replicas import Replica
from tests.chaos.season.chain import Chain
from tests.chaos.season.record import Sample, Signal, Stage, Stop
from tests.chaos.season.takeovers import AFTER_KILL_S, AFTER_STOP_S
from tests.chaos.season.watch import PAUSE_S

T = TypeVar("T")
CALM_S: Final = 2.0
CALM_WITHIN_S: Final = 20.0


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
        await self.stopping(worker, "SIGKILL")
        self.chain.replicas.kill(worker, disk=disk)
        await self.settled(worker, self.chain.settings.session_timeout_seconds + AFTER_KILL_S + 2)

    async def restart(self, worker: Replica, *, judged: bool = True, spare_s: float = 0.0) -> None:
        """SIGTERM, and a successor once it has ended.

        Args:
            worker: whom.
            judged: whether the others can take over: not while something else holds them.
            spare_s: what it may take longer to end.

        Raises:
            AssertionError: it did not end with 0.
        """
        if judged:
            await self.stopping(worker, "SIGTERM", spare_s)
        code = await self.chain.replicas.restart(worker)
        assert code == 0, f"{worker.name} ended with {code} on SIGTERM\n{worker.text}"
        await self.settled(worker, AFTER_STOP_S + spare_s + 2)

    async def stopping(self, worker: Replica, how: Signal, spare_s: float = 0.0) -> None:
        """Remember when, for whoever judges the takeover; call it right before."""
        calm = await self._calm(worker)
        stage: Stage = worker.stage  # type: ignore[assignment]  # one of the three
        self.stops.append(Stop(time.time(), stage, worker.name, how, calm, spare_s))

    async def _calm(self, worker: Replica) -> bool:
        """Whether the worker's stage moves in every partition that has work: whatever it waited for is over.

        The short form does not wait for that, and the long one for no longer than `CALM_WITHIN_S`.
        """
        if self.chain.brief or worker.stage == "ingest":
            return False
        until = time.time() + CALM_WITHIN_S
        await asyncio.sleep(CALM_S)
        while time.time() < until:
            since_s = time.time() - CALM_S
            samples = [
                one for one in self.chain.watch.samples[-100:] if one.stage == worker.stage and one.at_s > since_s
            ]
            if len(samples) > 1 and moves(samples[0], samples[-1]):
                return True
            await asyncio.sleep(PAUSE_S)
        return False

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


def moves(before: Sample, after: Sample) -> bool:
    """Whether every partition that both show has moved or has no work."""
    both = before.places.keys() & after.places.keys()
    pairs = [(before.places[number], after.places[number]) for number in both]
    return bool(pairs) and all(now.committed == now.end or now.committed > then.committed for then, now in pairs)


Fault = Callable[[Act], Awaitable[None]]
