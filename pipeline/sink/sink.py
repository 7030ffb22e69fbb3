"""The sink without Faust and HTTP: chunks in, request bodies out, acknowledgements back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from faust.types import TP

from pipeline.sink.acks import Acks, Delivered, is_owed
from pipeline.sink.answers import Answer
from pipeline.sink.backlog import Backlog
from pipeline.sink.budget import Budget, PacedBudget
from pipeline.sink.clearance import Clearance, Membership
from pipeline.sink.delivery import Delivery
from pipeline.sink.events import SinkEvent, WorkGivenUp
from pipeline.sink.gate import Gate
from pipeline.sink.handover import SinkHandOver
from pipeline.sink.intake import Intake
from pipeline.sink.item import Item
from pipeline.sink.lanes import Lane
from pipeline.sink.letters import DeadLetters, Producer
from pipeline.sink.memory import Memory
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Records that wait in one sink. Eight lanes fill two batches of 500 kB each out of 8 MB; the rest lets the other lanes
go on for a while when one is stuck."""

PATIENCE_S: Final = 300.0
"""Longer than a deployment or a restart on the other side, short enough that a customer's later events are of use."""

LANE: Final = BackgroundTask("lane", OnEnd.CRASH)

Observer = Callable[[SinkEvent], None]


class Sink:
    """All parts of one sink, wired. Belongs to one event loop.

    Args:
        post: sends a request body once (`TrackClient.send_batch`).
        producer: writes dead letters.
        dead_letters_topic: where to.
        membership: whether records of a generation may still be sent.
        partitions_total: partitions of the operations topic, all sinks together.
        requests_per_second: the workspace's rate, all sinks together.
        lanes: batches in flight at once.
        patience_s: seconds that a record may fail while others are accepted, before it is given up.
        crash: called once when a lane meets a bug or can never write dead letters again; the process must end.
        observers: receive a frozen record of everything that happens (`events`).
    """

    def __init__(
        self,
        *,
        post: Callable[[bytes], Awaitable[Answer]],
        producer: Producer,
        dead_letters_topic: str,
        membership: Membership,
        partitions_total: Callable[[], int],
        requests_per_second: float,
        lanes: int,
        crash: Callable[[BaseException], None],
        observers: Sequence[Observer] = (),
        patience_s: float = PATIENCE_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._partitions_total = partitions_total
        self.handover = SinkHandOver()
        self.handover.on_begin.append(self._begin)
        self.handover.on_resume.append(self._resume)
        self.acks = Acks()
        self.memory = Memory(memory_bytes)
        self.gate = Gate(self.handover, self._emit, lanes)
        self.budget: Budget = PacedBudget(requests_per_second, self.handover, self._emit)
        self._observers: tuple[Observer, ...] = (self.budget.observe, *observers)
        backlog = Backlog(self.handover)
        self.lanes = [Lane(number, backlog) for number in range(lanes)]
        self._intake = Intake(self.lanes, self.memory, self.acks, self.handover, backlog)
        self._delivery = Delivery(
            post=post,
            clearance=Clearance(
                handover=self.handover, membership=membership, gate=self.gate, budget=self.budget, emit=self._emit
            ),
            gate=self.gate,
            handover=self.handover,
            letters=DeadLetters(producer, dead_letters_topic, self._emit),
            done=self._done,
            dropped=self._dropped,
            emit=self._emit,
            patience_s=patience_s,
            starved=self.memory.lend,
        )
        self._tasks = Tasks(crash=crash, observers=observers)

    async def start(self) -> None:
        """Let the lanes run."""
        for lane in self.lanes:
            self._tasks.start(LANE, partial(lane.run, self._delivery.deliver), which=lane.number)

    async def stop(self) -> None:
        """End the lanes; a hand-over came before, so nothing is in flight unless its grace was too short."""
        self.handover.begin()
        await self._tasks.stop()

    async def take(self, batch: Delivered) -> None:
        """Take in one chunk; returns when there is room for the next."""
        await self._intake.take(batch)

    def _begin(self) -> None:
        """Only what stands in front of something that already left is still sent; the rest is the next owners'."""
        self.memory.interrupt()
        self.acks.finish(self._delivery.on_their_way, self._delivery.resting)
        left = [item for lane in self.lanes for item in lane.waiting.keep(is_owed)]
        if left:
            self._dropped(left)

    def _resume(self, generation: int, assigned: frozenset[TP]) -> None:
        self.acks.keep(generation)
        self.budget.assign(len(assigned), self._partitions_total())

    def _done(self, items: list[Item]) -> None:
        self._release(items)
        self.acks.complete(items)

    def _dropped(self, items: list[Item]) -> None:
        self._release(items)
        self.acks.give_up(items)
        self._emit(WorkGivenUp(len(items)))

    def _release(self, items: list[Item]) -> None:
        self.memory.release(sum([item.taken_bytes for item in items]))  # a list is summed twice as fast
        self.handover.released(len(items))

    def _emit(self, event: SinkEvent) -> None:
        for observe in self._observers:
            observe(event)
