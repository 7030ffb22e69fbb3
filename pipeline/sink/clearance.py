"""Clearance: whether a request may leave now. One line of questions that every request passes, retries included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from pipeline.sink.budget import Budget
from pipeline.sink.events import MembershipAwaited, SinkEvent
from pipeline.sink.gate import Gate, Pass
from pipeline.sink.handover import Assignment, SinkHandOver

STALE_LOOK_S: Final = 0.2
"""How often a lane looks whether the membership is alive again, while no revocation has come either."""

STALE_LOOKS_TOLD: Final = 300
"""Looks between two signs of life while brokers are away: a minute."""


class Membership(Protocol):
    """`pipeline.kafka.worker.membership.Membership` fits."""

    def may_send(self, generation: int) -> bool:
        """Whether effects of records delivered under `generation` may leave this process now."""

    def may_finish(self, generation: int) -> bool:
        """The same while the partitions are being given away."""


class Clearance:
    """Partitions still ours, membership alive, gate open, turn in the budget: all at the same time."""

    def __init__(
        self,
        *,
        handover: SinkHandOver,
        membership: Membership,
        gate: Gate,
        budget: Budget,
        emit: Callable[[SinkEvent], None],
    ) -> None:
        self._handover = handover
        self._membership = membership
        self._gate = gate
        self._budget = budget
        self._emit = emit

    async def ask(self, assignment: Assignment, lane: int, *, finishing: bool = False) -> Pass | None:
        """Wait until a request for records of `assignment` may be sent.

        None when that time will not come, or when a hand-over began meanwhile: unless `finishing` is given, which asks
        for what a hand-over that has begun still owes. Then nothing is waited for but the turn.

        Everything is asked once more after the waits: another lane may have met a Retry-After, and the membership is
        only as good as the last heartbeat.
        """
        admits = self._handover.finishes if finishing else self._handover.admits
        alive = self._membership.may_finish if finishing else self._membership.may_send
        looks = 0
        while admits(assignment):
            if not alive(assignment.generation):
                looks += 1
                if looks % STALE_LOOKS_TOLD == 0:
                    self._emit(MembershipAwaited(lane))
                await self._handover.nap(STALE_LOOK_S)
                continue
            given = await self._gate.enter(lane)
            if given is None:
                return None
            try:
                its_turn = await self._budget.turn()
            except BaseException:
                self._gate.left(given)
                raise
            if its_turn and self._gate.honours(given) and admits(assignment) and alive(assignment.generation):
                return given
            self._gate.left(given)
        return None
