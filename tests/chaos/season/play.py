"""A season as it is played: traffic, faults at their places in it, and all that is left behind at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from pipeline.transform.policy import Policy
from tests.chaos.season.act import Act
from tests.chaos.season.chain import Chain
from tests.chaos.season.checker import check
from tests.chaos.season.faults.table import FAULTS
from tests.chaos.season.record import Happened, Season, Taken
from tests.chaos.season.restores import restores
from tests.chaos.season.schedule import Planned
from tests.chaos.season.stand_in import read
from tests.chaos.seen import caught_up_in, look
from tests.chaos.truth import Event, Outcome, faults, work_out

FADE_S: Final = 15.0
"""While a fault lasts, the traffic up to the next one comes ever more slowly, so that there is some however long it
lasts: of what is left a third after this time. What is left in the end comes at once, so that the next one meets a
backlog."""

BRIEF_FADE_S: Final = 1.5
STEP_S: Final = 0.1
FAULT_WITHIN_S: Final = 1200.0
"""The longest is a restart on a slow disk that has none of two million facts yet: 1,000 a write of half a second."""


@dataclass(frozen=True)
class Played:
    """What came of it."""

    season: Season
    found: tuple[str, ...]
    """Every violation."""

    stats: dict[str, Any]
    """The stand-in's counts."""

    answers: dict[int | str, int]
    """What the client was told, by status or error."""


class Traffic:
    """Lets the client post so far, in one go or bit by bit."""

    def __init__(self, chain: Chain) -> None:
        self._client = chain.client
        self._released = 0

    async def reach(self, answered: int) -> None:
        """Let so many be posted, and wait until they are answered."""
        self._release(answered)
        await self._client.reaches(answered)

    async def fade(self, until: int, seconds: float) -> None:
        """Let so many be posted, in each step the same part of what is left; it takes several times so long."""
        due = float(self._released)
        while due < until:
            await asyncio.sleep(STEP_S)
            due += max((until - due) * STEP_S / seconds, STEP_S)  # one a second at least
            self._release(min(int(due), until))

    def _release(self, until: int) -> None:
        self._client.release(max(0, until - self._released))
        self._released = max(until, self._released)


async def play(chain: Chain, seed: int, planned: Sequence[Planned], *, timed: bool) -> Played:
    """Let every fault happen, wait until nothing waits any more, and judge.

    Raises:
        AssertionError: a fault could not be done, or the chain did not come to its end.
    """
    began_s, webhooks, traffic = time.time(), len(chain.deliveries), Traffic(chain)
    happened: list[Happened] = []
    together = [list(group) for _, group in groupby(planned, key=lambda one: one.at)]
    for number, group in enumerate(together):
        await traffic.reach(group[0].at)
        until = together[number + 1][0].at if number + 1 < len(together) else webhooks
        fading = asyncio.create_task(traffic.fade(until, BRIEF_FADE_S if chain.brief else FADE_S))
        try:
            happened += await asyncio.gather(*(_happens(chain, one) for one in group))
        finally:
            fading.cancel()
            await asyncio.wait({fading})
    await traffic.reach(webhooks)
    for stage, (group_id, topic) in chain.groups().items():
        await caught_up_in(chain.settings, group_id, topic, chain.partitions[stage])
    await chain.watch.look()
    return await _judge(chain, seed, began_s, happened, timed=timed)


async def _happens(chain: Chain, planned: Planned) -> Happened:
    act, began_s = Act(chain, random.Random(planned.seed)), time.time()
    try:
        async with asyncio.timeout(FAULT_WITHIN_S):
            await FAULTS[planned.name](act)
    except Exception as error:
        what = f"fault {planned.number}, {planned.name} ({', '.join(act.said)}): {error!r}"
        raise AssertionError(what) from error
    detail = ", ".join(act.said)
    ended_s = time.time()
    print(f"{planned.number:4} {planned.at:7} {planned.name}: {detail} [{ended_s - began_s:.1f} s]", flush=True)  # noqa: T201 - progress
    return Happened(planned.number, planned.name, began_s, ended_s, detail, tuple(act.stops), frozenset(act.ends))


async def _judge(chain: Chain, seed: int, began_s: float, happened: list[Happened], *, timed: bool) -> Played:
    stats = await chain.view.stats()
    seen = await look(chain.settings, chain.view)
    codes = await chain.replicas.stop()
    client, settings = chain.client, chain.settings
    lines = list(read(chain.log))
    truth = await asyncio.to_thread(work_out, client.posted, Policy.of(settings), now_ms=int(time.time() * 1000))
    due: dict[str, list[str]] = defaultdict(list)
    for event in truth.events:
        due[event.person].append(event.id)
    season = Season(
        seed=seed,
        began_s=began_s,
        session_s=settings.session_timeout_seconds,
        partitions=dict(chain.partitions),
        answered=client.ledger,
        taken=tuple(taken for taken, _ in lines),
        samples=tuple(chain.watch.samples),
        happened=tuple(sorted(happened, key=lambda one: one.number)),
        ended=tuple(chain.replicas.ended),
        restored=restores(chain.directory),
        due={person: tuple(ids) for person, ids in due.items()},
    )
    found = without_refused(seen, lines)
    found += faults(chain.shop, chain.deliveries, truth, seen)
    found += check(season, timed=timed)
    found += [f"{name} ended with {code} on SIGTERM" for name, code in codes.items() if code]
    return Played(season, tuple(found), stats, dict(client.answers))


def without_refused(seen: Outcome, lines: Iterable[tuple[Taken, dict[str, Any] | None]]) -> list[str]:
    """Make of what was seen what it would be if the script had refused nothing; what is wrong about the refused ones.

    A refused event stands where it was refused, and its dead letter is taken away; one without a letter was lost.
    """
    by_id, events = {event.id: event for event in seen.events}, dict[str, Event]()
    refused: dict[str, Event] = {}
    count = 0
    for taken, operation in lines:
        if operation is not None:
            count += 1
            event = Event.of(taken.ulid, taken.person, taken.name, operation["timestamp"], operation["attributes"])
            refused[taken.ulid] = event
            events.setdefault(taken.ulid, by_id.get(taken.ulid, event))
        elif taken.ulid in by_id:
            events.setdefault(taken.ulid, by_id[taken.ulid])
    lost = []
    for ulid, event in refused.items():
        letter = ("sink", "refused", event.webhook_id)
        if letter not in seen.dead_letters and ulid not in by_id:
            lost.append(event)
    seen.dead_letters -= {("sink", "refused", event.webhook_id) for event in refused.values()}
    seen.refused -= count
    missing = [event for event in seen.events if event.id not in events]
    seen.events = [*events.values(), *missing]
    return [f"{len(lost)} refused events without a dead letter: {lost[:5]}"] if lost else []
