"""The sink without Faust and HTTP: chunks in, request bodies out, acknowledgements back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from pipeline.errors import ContractViolationError
from pipeline.kafka.producer.sending import Producer
from pipeline.kafka.records import Record, source_of
from pipeline.kafka.worker.membership import since_boot
from pipeline.observers import tell
from pipeline.sink.acks import Acks, Delivered, is_owed
from pipeline.sink.answers import Answer
from pipeline.sink.backlog import Backlog
from pipeline.sink.budget import PacedBudget
from pipeline.sink.clearance import Clearance, Membership
from pipeline.sink.custody import Custody
from pipeline.sink.delivery import Delivery
from pipeline.sink.early import Early
from pipeline.sink.events import PassedOver, SinkEvent, WorkGivenUp
from pipeline.sink.gate import Gate
from pipeline.sink.handover import Assignment, SinkHandOver
from pipeline.sink.intake import Intake
from pipeline.sink.item import Item
from pipeline.sink.lanes import Lane, Queue
from pipeline.sink.lending import Board, Lender
from pipeline.sink.letters import DeadLetters
from pipeline.sink.memory import Memory
from pipeline.sink.removals import Removals
from pipeline.sink.trouble import Trouble
from pipeline.tasks import BackgroundTask, OnEnd, Tasks

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Records that wait in one sink. Eight lanes fill two batches of 500 kB each out of 8 MB; the rest lets the other lanes
go on for a while when one is stuck."""

PATIENCE_S: Final = 300.0
"""Longer than a deployment or a restart on the other side, short enough that a customer's later events are of use."""

LANE: Final = BackgroundTask("lane", OnEnd.CRASH)
FAULTS: Final = BackgroundTask("faults", OnEnd.CRASH)
LENDING: Final = BackgroundTask("lending", OnEnd.CRASH)

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
        lanes: batches in flight at once, at most.
        board: where sinks publish to each other who lends whom what of the rate; None: each keeps to its share.
        is_successor: whether another process may have lent in this one's place just before (static membership).
        patience_s: seconds that a record may fail while others are accepted, before it is given up.
        crash: called once when a lane or the lending meets a bug, or dead letters can never be written again; the
            process must end.
        observers: receive a frozen record of everything that happens (`events`).
        unsay: called with records that were given up, after their dead letters; None where nobody remembers them.
        removals: whom operations further on remove; None: nobody.
        lease_clock: seconds by which leases end; goes on while the host is suspended.
        unix: unix seconds.
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
        board: Board | None = None,
        is_successor: bool = False,
        unsay: Callable[[Sequence[Record]], Awaitable[None]] | None = None,
        removals: Removals | None = None,
        patience_s: float = PATIENCE_S,
        memory_bytes: int = MEMORY_BYTES,
        lease_clock: Callable[[], float] = since_boot,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._crash = crash
        self._partitions_total = partitions_total
        self.handover = SinkHandOver()
        self.handover.on_begin.append(self._begin)
        self.handover.on_resume.append(self._resume)
        self.acks = Acks()
        self.memory = Memory(memory_bytes)
        self.gate = Gate(self.handover, self._emit, lanes)
        self.budget = PacedBudget(requests_per_second, self.handover, self._emit, lease_clock=lease_clock)
        self._lender = None if board is None else Lender(self.budget, board, lease_clock, is_successor=is_successor)
        self._trouble = Trouble()
        self._observers: tuple[Observer, ...] = (self._trouble.observe, *observers)
        backlog = Backlog(self.handover)
        self.queue = Queue(backlog)
        self._lanes = [Lane(number) for number in range(lanes)]
        self.early = Early(unix)
        self._intake = Intake(
            self.queue, self.memory, self.acks, self.handover, backlog,
            early=self.early,
            removals=Removals() if removals is None else removals,
            passed_over=lambda count: self._emit(PassedOver(count)),
        )  # fmt: skip
        self._delivery = Delivery(
            post=post,
            clearance=Clearance(
                handover=self.handover, membership=membership, gate=self.gate, budget=self.budget, emit=self._emit
            ),
            gate=self.gate,
            handover=self.handover,
            letters=DeadLetters(producer, dead_letters_topic, self._emit, unsay),
            done=self._done,
            dropped=self._dropped,
            emit=self._emit,
            patience_s=patience_s,
            starved=self.memory.lend,
            lanes=lanes,
        )
        self.custody = Custody(self.queue, self._delivery, self.acks, self._intake)
        self._tasks = Tasks(crash=crash, observers=observers)

    async def start(self) -> None:
        """Let the lanes run, what needs none, and the lending."""
        for lane in self._lanes:
            self._tasks.start(LANE, partial(self.queue.run, lane, self._delivery.deliver), which=lane.number)
        self._tasks.start(FAULTS, partial(self.queue.run_faults, self._delivery.give_up_faults))
        if self._lender is not None:
            self._tasks.start(LENDING, self._lender.run)

    async def stop(self) -> None:
        """End the lanes; a hand-over came before, so nothing is in flight unless its grace was too short."""
        self.handover.begin()
        await self._tasks.stop()
        self._trouble.end()

    async def take(self, batch: Delivered) -> None:
        """Take in one chunk; returns when there is room for the next."""
        await self._intake.take(batch)

    def _begin(self) -> None:
        """Only what stands in front of something that already left is still sent; the rest is the next owners'."""
        self.memory.interrupt()
        if self._lender is not None:
            self._lender.stop()
        self.acks.finish(self._delivery.on_their_way, self._delivery.resting)
        self._intake.put_all(self.early.take_back())  # what stands in front of something that left cannot wait
        if left := self.queue.keep(is_owed):
            self._dropped(left)

    def _resume(self, assignment: Assignment) -> None:
        """What an older assignment still holds is left, but for requests on their way; their people wait for them."""
        in_hand = {item.key for item in self._delivery.on_their_way}
        if left := self.queue.renew(assignment, in_hand) + self._delivery.leave():
            self._dropped(left)
        self.acks.restart()
        self.budget.assign(len(assignment.partitions), self._partitions_total())
        if self._lender is not None:
            self._lender.restart(assignment.generation)

    def _done(self, items: list[Item]) -> None:
        self._release(items)
        self.acks.complete(items)

    def _dropped(self, items: list[Item]) -> None:
        self._release(items)
        self.acks.give_up(items)
        self._emit(WorkGivenUp(len(items)))
        if self.handover.is_finishing and (behind := self.queue.keep(is_owed)):
            self._dropped(behind)  # given up during a hand-over: what waited for it must not pass it
        if lost := next((item for item in items if self.handover.admits(item.assignment)), None):
            # Nobody would send it before the next rebalance, its customer's later ones would pass it, and the offset
            # of its partition would stand still all the while.
            self._crash(ContractViolationError(f"{source_of(lost.record)} is this sink's, and was dropped unsent"))

    def _release(self, items: list[Item]) -> None:
        self.memory.release(sum([item.taken_bytes for item in items]))  # a list is summed twice as fast
        self.handover.released(len(items))

    def _emit(self, event: SinkEvent) -> None:
        self.budget.observe(event)  # a part of the sink, which must not miss a 429
        self.custody.observe(event)
        tell(self._observers, event)
