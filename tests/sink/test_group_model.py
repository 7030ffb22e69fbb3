"""Any number of sinks in one group, through everything that happens to them: nothing lost, nothing out of order.

`SINK_MODEL_EXAMPLES` sets how many random lives are tried (300 without it).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.sink.group_model import World
from tests.virtual import VirtualLoop, run_virtual

EXAMPLES = int(os.environ.get("SINK_MODEL_EXAMPLES", "300"))
MEMBERS = 4
HEALED_S = 6 * 3600
"""Longer than every backoff, hold and patience together; virtual."""

PEOPLE = st.sampled_from("abcdefgh")
KINDS = st.sampled_from(["good"] * 12 + ["refused", "refused", "poison", "cursed", "junk"])
WHEN = st.sampled_from(["now"] * 6 + ["first", "first", 3, 40])
"""`first`: the person's next ones wait for it; a number: seconds that it waits while the others pass it."""

RECORDS = st.lists(st.tuples(PEOPLE, KINDS, WHEN), min_size=1, max_size=25)
SLOW = ["ok:2", "ok:5", "ok:7.6", "503:7.6", "400:7.9", "lost:6", "late:9"]
FAULTS = ["503", "429", "lost", "unreachable", "truncated", "401", "413", "few"]
ANSWERS = st.sampled_from(["ok", "ok", *SLOW, *FAULTS, "500", "moved"])
MODES = st.sampled_from(["ok", "ok", "ok", "ok:3", *FAULTS, "400", "late:9"])
SECONDS = st.sampled_from([0.02, 0.3, 1.0, 3.0, 5.0, 8.0, 9.5, 12.0, 25.0, 70.0])


class Life(RuleBasedStateMachine):
    """One random life of a group."""

    @initialize(
        lanes=st.integers(1, 4), memory=st.sampled_from([1, 20_000, 10**7]), patience=st.sampled_from([20.0, 300.0])
    )
    def begin(self, lanes: int, memory: int, patience: float) -> None:
        """One sink, nothing to do."""
        self.loop = VirtualLoop()
        self.background: set[asyncio.Task[Any]] = set()

        async def build() -> World:
            world = World(lanes=lanes, memory_bytes=memory, patience_s=patience)
            await world.join()
            return world

        self.world = self.run(build())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run `work` in virtual time."""
        return self.loop.run_until_complete(work)

    def pick(self, number: int) -> Any:
        """One of the running members, None when all have gone."""
        running = self.world.running
        return running[number % len(running)] if running else None

    @rule(records=RECORDS)
    def produce(self, records: list[tuple[str, str, str | int]]) -> None:
        """Records come in."""

        async def come() -> None:
            for person, kind, when in records:
                early_s = when if isinstance(when, int) else 0
                self.world.produce(person, kind, barrier=when == "first", early_s=early_s)

        self.run(come())

    @rule(answers=st.lists(ANSWERS, min_size=1, max_size=6))
    def script(self, answers: list[str]) -> None:
        """The next requests are answered like this."""
        self.world.api.script += answers

    @rule(mode=MODES)
    def mode(self, mode: str) -> None:
        """All requests behind the script are."""
        self.world.api.mode = mode

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.run(asyncio.sleep(seconds))
        self.world.check()

    @rule()
    def join(self) -> None:
        """One more process, of four at most; no precondition, since what is drawn must not hang on what happened."""
        if len(self.world.members) < MEMBERS:
            self.run(self.world.join())

    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        """SIGTERM to one of them, which takes its time."""
        if member := self.pick(number):
            task = self.loop.create_task(self.world.leave(member))
            self.background.add(task)
            self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 3))
    def kill(self, number: int) -> None:
        """SIGKILL to one of them."""
        if member := self.pick(number):
            self.run(self.world.kill(member))

    @rule(number=st.integers(0, 3), seconds=SECONDS, freeze=st.booleans())
    def cut_off(self, number: int, seconds: float, freeze: bool) -> None:
        """One of them does not reach the brokers for a while, or stands still altogether."""

        async def away(member: Any) -> None:
            member.cut_off = True
            if freeze:
                member.frozen.clear()
            await asyncio.sleep(seconds)
            member.frozen.set()
            await asyncio.sleep(0)  # what it was about to do it does before it hears anything
            member.cut_off = False

        if member := self.pick(number):
            self.background.add(self.loop.create_task(away(member)))
            self.run(asyncio.sleep(0))

    @rule(away=st.booleans())
    def brokers(self, away: bool) -> None:
        """No broker answers anybody, or all do."""
        self.world.brokers_away = away

    @rule(wait=st.booleans())
    def letters(self, wait: bool) -> None:
        """The dead-letter topic takes nothing, or does again."""
        self.world.letters_wait(wait=wait)

    def teardown(self) -> None:
        """All is well again: then everything ends, each person's in order, and nobody innocent was given up."""
        if not hasattr(self, "world"):
            return
        try:
            self.run(self.end())
        finally:
            self.run(self.world.close())
            self.run(self._end_all())
            self.loop.close()

    async def _end_all(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def end(self) -> None:
        """Heal, and wait."""
        world = self.world
        world.heal()
        if not world.running:
            await world.join()
        until = world.now + HEALED_S
        while not (world.is_finished() and all(one.sink.acks.undone == 0 for one in world.running)):
            world.check()
            assert world.now < until, f"stuck: {world.stuck()}"
            await asyncio.sleep(0.5)
        world.check()
        for member in world.running:
            assert member.sink.memory.taken_bytes == 0
            assert not member.sink.queue.waiting
        wrong = {place: world.sent[place].kind for place in world.lettered if world.sent[place].kind == "good"}
        assert not wrong, f"innocent dead letters: {wrong}"


Life.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestLife = Life.TestCase


def test_unanswered_during_a_hand_over() -> None:
    """What a hand-over gives up, since its request stays unanswered, is not passed by what waited for it."""

    async def life() -> None:
        world = World(lanes=2)
        await world.join()
        world.produce("a", barrier=True)
        world.api.mode = "late:9"
        await asyncio.sleep(5)
        world.heal()
        world.produce("a")
        world.produce("d")  # accepted meanwhile: the two before it are owed when the hand-over begins
        await world.join()
        while not world.is_finished():
            world.check()
            await asyncio.sleep(0.5)
        world.check()
        await world.close()
        # The first one's answer came when nobody waited for it any more; of the last one the commit told the heir.
        assert [world.api.accepted[1, number] for number in range(3)] == [2, 1, 1]

    run_virtual(life())
