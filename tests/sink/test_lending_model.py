"""Sinks that lend to each other, in a model: clocks, messages, freezes, crashes and rebalances as they come.

The budget and the lending are the real ones. What is modelled is what lies between them: a group with its generations,
a board that is the last text stored beside each first partition, and messages that are late, lost, overtaken or old.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pipeline.sink.budget import PacedBudget, _Place
from pipeline.sink.lending import TICK_S, Lending
from pipeline.sink.pace import JITTER_S
from pipeline.sink.statements import parse

LONG = pytest.mark.skipif(not os.environ.get("CHAOS_SECONDS"), reason="long form: make chaos")

PARTITIONS: Final = 12
SESSION_S: Final = 10.0
FRESH_S: Final = 8.0
"""A sink sends nothing when its last good heartbeat is older (`kafka.membership`)."""

REBALANCE_S: Final = 20.0
ALWAYS: Final = 1e9


@dataclass
class Sink:
    """One process: the real budget and lending, and what the model knows of it."""

    world: World
    name: str
    drift: float
    is_successor: bool = False
    budget: PacedBudget = field(init=False)
    lending: Lending = field(init=False)
    partitions: list[int] = field(default_factory=list)
    generation: int = -1
    phase: str = "shut"
    alive: bool = True
    frozen_until: float = 0.0
    suspended_s: float = 0.0
    heartbeat_at: float = 0.0
    queue: deque[float] = field(default_factory=deque)
    busy_until: float = 0.0
    said: tuple[str, int] = ("", -1)
    planned: float = ALWAYS
    began: int = 0

    def __post_init__(self) -> None:
        self.budget = PacedBudget(
            self.world.limit, cast("Any", None), clock=lambda: self.boot() - self.suspended_s, lease_clock=self.boot
        )
        self.lending = Lending(
            self.budget, is_successor=self.is_successor, name=lambda: f"{self.name}{next(self.world.names)}"
        )
        self.heartbeat_at = self.boot()

    def boot(self) -> float:
        """Its clock, which goes on while the host is suspended and is a little fast or slow."""
        return 1_000.0 + self.world.now * self.drift

    # --- requests ----------------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Requests per second that it might send now, if it is not frozen."""
        fresh = self.boot() - self.heartbeat_at < FRESH_S
        return self.budget.per_second if self.phase != "shut" and self.partitions and fresh else 0.0

    @property
    def has_work(self) -> bool:
        """Whether a request waits for its turn."""
        return bool(self.partitions) and (bool(self.queue) or self.world.now < self.busy_until)

    def send(self) -> None:
        """Look whether a request may leave, and come again when the next one may."""
        if self.phase == "shut" or not self.has_work or self.boot() - self.heartbeat_at >= FRESH_S:
            self.budget._line.clear()
            return
        local = self.boot() - self.suspended_s
        if not self.budget._line:
            self.budget._line.append(_Place(local))
        if (wait_s := self.budget.due() - local) <= 0:
            self.budget.leave()
            self.budget._line.clear()
            if self.queue:
                self.queue.popleft()
            self.world.arrive(self)
            self.plan(0.0)
        else:
            self.plan(wait_s / self.drift + self.world.late())

    def plan(self, in_s: float) -> None:
        """Look again, unless that is planned for sooner."""
        at = self.world.now + max(in_s, 1e-9)
        if at < self.planned:
            self.planned = at

            def look() -> None:
                if self.planned == at:
                    self.planned = ALWAYS
                    self.send()

            self.world.at(at, self, look)

    # --- lending -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What the shell does four times a second, with a heartbeat once in a while."""
        if self.world.is_member(self) and not self.world.away:
            self.heartbeat_at = self.boot()
            self.world.heard[self.name] = self.world.now
            self.begin(self.world.rebalances)  # its answer says so
        elif not self.world.is_member(self) and not self.world.away:
            self.world.join(self)
        if self.lending.tick(self.boot()):
            self.speak()
            self.world.read(self)
        else:
            self.speak()
            self.world.at(self.world.now + TICK_S / self.drift, self, self.tick)
        self.look()

    def heard(self, texts: list[str] | None) -> None:
        """The board's answer, or none."""
        if texts is not None:
            self.lending.heard([one for text in texts if (one := parse(text))], self.boot())
        self.speak()
        self.look()
        self.world.at(self.world.now + TICK_S / self.drift, self, self.tick)

    def look(self) -> None:
        """The rate may have changed."""
        self.budget.refresh()
        if self.phase != "shut":
            self.planned = ALWAYS
            self.plan(0.0)

    def speak(self) -> None:
        """Put what there is to say on its way."""
        saying = (self.lending.text, self.lending.generation)
        if saying != self.said:
            self.said = saying
            self.world.say(self, *saying)

    # --- the group ---------------------------------------------------------------------------------------------------

    def resume(self, generation: int, rebalance: int, partitions: list[int]) -> None:
        """An assignment, unless the next rebalance overtook it."""
        if generation != self.world.generation or rebalance < self.began:
            return
        self.generation, self.partitions, self.phase = generation, partitions, "open"
        self.budget.assign(len(partitions), PARTITIONS)
        self.lending.restart(generation, self.boot())
        self.speak()
        self.plan(0.0)

    def begin(self, number: int) -> None:
        """The hand-over of a rebalance begins; a little is still finished, then it joins."""
        if number == self.began or not self.world.is_awaited(self, number):
            return
        self.began = number
        if self.phase == "open":
            self.phase = "finishing"
            self.lending.stop()

        def join() -> None:
            if self.world.is_awaited(self, number):
                self.phase = "shut"
                self.world.joined(self)

        self.world.at(self.world.now + self.world.chance.choice([0.0, 0.01, 0.5, 3.0]), self, join)


class World:
    """The group, its board, the server that counts arrivals, and time."""

    def __init__(self, seed: int, limit: float, *, hostile: bool = True) -> None:
        self.chance = random.Random(seed)
        self.limit = limit
        self.hostile = hostile
        self.loss = self.chance.choice([0.0, 0.02, 0.2]) if hostile else 0.0
        self.slow = self.chance.choice([0.0, 0.02, 0.2]) if hostile else 0.0
        self.now = 0.0
        self.away = False
        self.generation = 0
        self.sinks: dict[str, Sink] = {}
        self.members: dict[str, Sink] = {}
        self.heard: dict[str, float] = {}
        self.waiting: set[str] | None = None
        self.rebalances = 0
        self.began_at = 0.0
        self.slots: dict[int, str] = {}
        self.past: deque[tuple[float, dict[int, str]]] = deque(maxlen=200)
        self.arrivals: list[tuple[float, int]] = []
        self.unchecked = 0.0
        self._events: list[tuple[float, int, Sink | None, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.names = itertools.count()
        self.at(0.5, None, self.watch)

    def at(self, when: float, sink: Sink | None, what: Callable[[], None]) -> None:
        """Do something later; what a sink does waits while it is frozen, and never happens once it is dead."""
        heapq.heappush(self._events, (when, next(self._numbers), sink, what))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            when, _, sink, what = heapq.heappop(self._events)
            self.now = max(self.now, when)
            if sink is not None and not sink.alive:
                continue
            if sink is not None and sink.frozen_until > self.now:
                self.at(sink.frozen_until, sink, what)
            else:
                what()
        self.now = end

    def late(self) -> float:
        """How late a timer fires."""
        slow = self.chance.random() < self.slow
        return self.chance.choice([0.02, 0.05, 0.2]) if slow else self.chance.uniform(0, 0.004)

    def delay(self) -> float:
        """How long a message takes."""
        slow = self.chance.random() < self.slow
        return self.chance.choice([0.3, 1.0, 3.0, 9.0]) if slow else self.chance.uniform(0.001, 0.05)

    def is_lost(self) -> bool:
        """Whether a message does not arrive."""
        return self.away or self.chance.random() < self.loss

    # --- requests ----------------------------------------------------------------------------------------------------

    def arrive(self, sink: Sink) -> None:
        """A request leaves now, and arrives soon."""
        together = sum(one.rate for one in self.sinks.values())
        assert together <= self.limit + 1e-6, f"at {self.now} all together may send {together} a second"
        # What is left of the jitter is for the clocks, which differ over a window by a thousandth.
        insort(self.arrivals, (self.now + self.chance.uniform(0, JITTER_S * 0.9), id(sink)))

    def most(self, since: float) -> tuple[int, int]:
        """The worst second of arrivals: requests, and the workers that they are of."""
        start, worst = 0, (0, 0)
        times = [one for one in self.arrivals if one[0] > since - 1.0]
        for end, (at, _) in enumerate(times):
            while times[start][0] <= at - 1.0:
                start += 1
            senders = len({who for _, who in times[start : end + 1]})
            count = end + 1 - start
            if count - senders > worst[0] - worst[1]:
                worst = (count, senders)
        return worst

    # --- the board ---------------------------------------------------------------------------------------------------

    def say(self, sink: Sink, text: str, generation: int) -> None:
        """A commit: stored if it arrives under the live generation from its owner, sent again if it is lost."""
        if self.is_lost():
            self.at(self.now + 1.0, sink, lambda: self.say(sink, *sink.said))
            if self.chance.random() < 0.5:
                return  # else only its answer was lost

        def store() -> None:
            if generation == self.generation and self.members.get(sink.name) is sink and sink.partitions:
                self.slots[min(sink.partitions)] = text
                self.past.append((self.now, dict(self.slots)))

        self.at(self.now + self.delay(), None, store)

    def read(self, sink: Sink) -> None:
        """Answer with the board as it is when the question arrives, or as it was a while ago."""
        if self.is_lost():
            self.at(self.now + 2.0, sink, lambda: sink.heard(None))
            return

        def answer() -> None:
            slots = self.slots
            if self.past and self.chance.random() < self.loss:  # a coordinator that was replaced
                slots = self.chance.choice(self.past)[1]
            texts = [*slots.values(), "", "somebody else's", '{"dodo-cio-budget":1}']
            self.at(self.now + self.delay(), sink, lambda: sink.heard(texts))

        self.at(self.now + self.delay(), None, answer)

    # --- the group ---------------------------------------------------------------------------------------------------

    def is_member(self, sink: Sink) -> bool:
        """Whether the group has it, as it is told with its next heartbeat."""
        return self.members.get(sink.name) is sink

    def start(self, name: str, *, is_successor: bool = False) -> Sink:
        """A new process."""
        drift = self.chance.choice([1.0, 0.999, 1.001]) if self.hostile else 1.0
        sink = self.sinks[name] = Sink(self, name, drift, is_successor)
        self.at(self.now + self.chance.uniform(0, TICK_S), sink, sink.tick)
        return sink

    def join(self, sink: Sink) -> None:
        """A process asks to be a member; what it had before is gone."""
        sink.lending.stop()
        sink.phase = "shut"
        self.members[sink.name] = sink
        self.heard[sink.name] = self.now
        self.rebalance()
        sink.began = self.rebalances
        self.joined(sink)

    def rebalance(self) -> None:
        """Members are told one after the other, with their heartbeats."""
        if self.waiting is not None:
            return
        self.waiting, self.began_at = set(self.members), self.now
        self.rebalances += 1
        for sink in self.members.values():
            self.at(self.now + self.chance.uniform(0, 1.0), sink, partial(sink.begin, self.rebalances))

    def is_awaited(self, sink: Sink, number: int) -> bool:
        """Whether that rebalance is under way and waits for it."""
        return number == self.rebalances and self.waiting is not None and sink.name in self.waiting

    def joined(self, sink: Sink) -> None:
        """It has given its partitions away."""
        if self.waiting is not None and self.is_member(sink):
            self.waiting.discard(sink.name)
            self.complete()

    def complete(self) -> None:
        """All have joined, or were put out: the next generation."""
        if self.waiting is None or self.waiting & set(self.members) or not self.members:
            return
        self.waiting = None
        self.generation += 1
        members = list(self.members.values())
        self.chance.shuffle(members)
        owners = [self.chance.choice(members) for _ in range(PARTITIONS)]
        if not self.hostile:
            owners = [members[number % len(members)] for number in range(PARTITIONS)]
        for sink in members:
            mine = [number for number, owner in enumerate(owners) if owner is sink]
            self.at(
                self.now + self.chance.uniform(0, 0.3),
                sink,
                partial(sink.resume, self.generation, self.rebalances, mine),
            )

    def watch(self) -> None:
        """Put out who was not heard of, or does not join."""
        for name in list(self.members):
            silent = self.now - self.heard[name] > SESSION_S
            lingers = self.waiting is not None and name in self.waiting and self.now - self.began_at > REBALANCE_S
            if (silent and not self.away) or lingers:
                del self.members[name]
                self.rebalance()
        self.complete()
        self.at(self.now + 0.5, None, self.watch)

    def take_over(self, name: str) -> None:
        """A static member dies and another process takes its place in the generation (KIP-345)."""
        old = self.members.get(name)
        if old is None or self.waiting is not None or old.phase != "open" or old.generation != self.generation:
            return
        old.alive = False
        sink = self.start(name, is_successor=True)
        self.members[name] = sink
        self.heard[name] = self.now
        self.at(
            self.now + self.chance.choice([0.0, 0.3, 2.0]),
            sink,
            partial(sink.resume, old.generation, self.rebalances, old.partitions),
        )


NAMES = st.sampled_from(["a", "b", "c", "d"])


class Trading(RuleBasedStateMachine):
    """Whatever happens to four sinks, the server counts no more than the limit and one request a worker."""

    world: World

    @initialize(seed=st.integers(0, 2**32), limit=st.sampled_from([1.0, 20.0, 37.5, 100.0]))
    def begin(self, seed: int, limit: float) -> None:
        """Four sinks start, and one of them has so much work that others lend to it if they can."""
        self.world = World(seed, limit)
        for name in "abcd":
            self.world.start(name)
        self.world.advance(7.0)
        self.flood("a", 30.0)

    @rule(seconds=st.floats(0.05, 4.0))
    def wait(self, seconds: float) -> None:
        """Nothing else happens."""
        self.world.advance(seconds)

    @rule(name=NAMES, seconds=st.floats(0.1, 30.0))
    def flood(self, name: str, seconds: float) -> None:
        """More work than can be done, and time until somebody may have lent to it."""
        if sink := self.world.sinks.get(name):
            sink.busy_until = max(sink.busy_until, self.world.now + seconds)
            sink.look()
        self.world.advance(min(seconds, 3.5))

    @rule(seconds=st.floats(0.1, 10.0))
    def flood_all(self, seconds: float) -> None:
        """Everybody has more work than can be done: whoever lent wants it back."""
        for sink in self.world.sinks.values():
            sink.busy_until = max(sink.busy_until, self.world.now + seconds)
            sink.look()

    @rule(name=NAMES, requests=st.integers(1, 12))
    def trickle(self, name: str, requests: int) -> None:
        """A little work."""
        if sink := self.world.sinks.get(name):
            sink.queue.extend([self.world.now] * requests)
            sink.look()

    @rule(name=NAMES, seconds=st.floats(0.05, 15.0), suspend=st.booleans())
    def freeze(self, name: str, seconds: float, suspend: bool) -> None:
        """SIGSTOP; or the host is suspended, and the clock that paces stands still with it."""
        if sink := self.world.sinks.get(name):
            sink.frozen_until = max(sink.frozen_until, self.world.now + seconds)
            sink.suspended_s += seconds if suspend else 0.0

    @rule(seconds=st.floats(2.0, 8.0), suspend=st.booleans())
    def freeze_the_fastest(self, seconds: float, suspend: bool) -> None:
        """The same for whoever borrows most, while everybody else gets work."""
        sinks = self.world.sinks.values()
        if fastest := max(sinks, key=lambda sink: sink.rate, default=None):
            for sink in sinks:
                sink.busy_until = max(sink.busy_until, self.world.now + 2 * seconds)
                sink.look()
            fastest.frozen_until = self.world.now + seconds
            fastest.suspended_s += seconds if suspend else 0.0
        self.world.advance(seconds)

    @rule(name=NAMES)
    def crash(self, name: str) -> None:
        """SIGKILL, and nobody comes after it."""
        if sink := self.world.sinks.pop(name, None):
            sink.alive = False

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        """A new process, if the one of that name is gone."""
        if name not in self.world.sinks:
            self.world.start(name)

    @rule(name=NAMES)
    def take_over(self, name: str) -> None:
        """A static member's next life."""
        self.world.take_over(name)

    @rule()
    def rebalance(self) -> None:
        """Somebody asks for one."""
        self.world.rebalance()

    @rule(away=st.booleans())
    def brokers(self, away: bool) -> None:
        """All brokers go, or come."""
        self.world.away = away

    @invariant()
    def never_above_the_limit(self) -> None:
        """In any sliding second of arrivals."""
        if hasattr(self, "world"):
            requests, workers = self.world.most(self.world.unchecked)
            self.world.unchecked = self.world.now
            assert requests <= self.world.limit + workers, f"{requests} requests of {workers} workers in a second"


def explore(examples: int, steps: int) -> None:
    """Run the model."""
    run_state_machine_as_test(
        Trading,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_never_above_the_limit() -> None:
    """No order of late, lost and old messages, freezes, crashes, rebalances and clocks exceeds the workspace's rate."""
    explore(100, 30)


@pytest.mark.chaos
@LONG
def test_never_above_the_limit_for_long() -> None:
    """The same, fifty times as often."""
    explore(5_000, 50)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("quiet_s", [0.0, 5.0, 60.3], ids=["at once", "soon", "later"])
def test_one_busy_sink_of_four_gets_nine_tenths(seed: int, quiet_s: float) -> None:
    """When nothing fails it has them within five seconds of its first request, and keeps them while it has work."""
    world = World(seed, 100.0, hostile=False)
    for name in "abcd":
        world.start(name)
    world.advance(6.0 + quiet_s)
    world.sinks["a"].busy_until = began = world.now
    world.sinks["a"].busy_until += 20.0
    world.sinks["a"].look()
    world.advance(28.0)
    for second in range(5, 20):
        count = sum(began + second <= at < began + second + 1.0 for at, _ in world.arrivals)
        assert count >= 90, f"{count} in the second from {second} s on"
    requests, workers = world.most(0.0)
    assert requests <= 100 + workers
    assert [sink.budget.lent.at(sink.boot()) for sink in world.sinks.values()] == [0.0] * 4
