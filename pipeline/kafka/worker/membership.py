"""Whether this process may act for the consumer group right now.

A replica that was frozen past its session and wakes up does not know for about half a second that others own its
partitions, so "I was assigned" is not enough to send anything: the last good heartbeat must be young as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from faust.types import TP

NOT_A_MEMBER: Final = -1
"""Kafka's generation of a client outside of any group; a commit under it is accepted by an empty group, and took
offsets back from 500 to 10 in a run."""

SAFETY_S: Final = 2.0
"""How much younger than the session the last good heartbeat must be: the request that follows the check needs time
to arrive, and the broker's clock started before its answer reached us."""

STATIC_FRESH_S: Final = 3.0
"""The same for a static member. Another process may take its name, and with it its partitions, without the group ever
waiting for it: it learns of that at its next heartbeat, and two of those may go unanswered before nothing leaves."""


def since_boot() -> float:
    """Seconds of a clock that goes on while the host is suspended (CLOCK_MONOTONIC does not, on Linux)."""
    return time.clock_gettime(_CLOCK)


_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Coordinator(Protocol):
    """The group as the driver's own thread knows it; all may be read from any thread."""

    @property
    def generation(self) -> int:
        """The current generation, `NOT_A_MEMBER` outside of the group."""

    @property
    def is_away(self) -> bool:
        """Whether no broker that coordinates the group is known, though it is looked for."""

    def partitions_total(self, topic: str) -> int:
        """Number of partitions of the topic, 0 while unknown."""


class _Outside:
    generation = NOT_A_MEMBER
    is_away = False

    def partitions_total(self, topic: str) -> int:  # noqa: ARG002 - nothing is known before the consumer started
        return 0


class Membership:
    """One process in its consumer group.

    `heartbeat`, `joined`, `expel` and `suspend` may be called from the consumer's thread, everything else belongs to
    the event loop.
    """

    def __init__(
        self, session_timeout_s: float, clock: Callable[[], float] = since_boot, *, is_static: bool = False
    ) -> None:
        self._fresh_s = min(session_timeout_s - SAFETY_S, STATIC_FRESH_S if is_static else float("inf"))
        self._is_static = is_static
        self._clock = clock
        self._coordinator: Coordinator = _Outside()
        self._heartbeat_at = float("-inf")
        self._joined_at = float("-inf")
        self._active = NOT_A_MEMBER
        self._leaving = NOT_A_MEMBER
        self._assigned: frozenset[TP] = frozenset()

    def attach(self, coordinator: Coordinator) -> None:
        """From now on `coordinator` knows the generation."""
        self._coordinator = coordinator

    @property
    def generation(self) -> int:
        """The generation of the consumer group, `NOT_A_MEMBER` outside of it."""
        return self._coordinator.generation

    @property
    def coordinator_away(self) -> bool:
        """Whether there is no broker to join the group with: they are away, or none of them coordinates it yet."""
        return self._coordinator.is_away

    @property
    def rebalancing(self) -> bool:
        """Records do not flow: not joined yet, partitions moving, or state being restored."""
        return self._active == NOT_A_MEMBER

    def heartbeat(self, at: float | None = None) -> None:
        """The group answered a request sent at `at` that this member is alive (unset: now)."""
        self._heartbeat_at = self._clock() if at is None else at

    def joined(self, asked_at: float) -> None:
        """The group has given this member its partitions of a new generation, for which it had asked at `asked_at`."""
        self._joined_at = self._clock()
        self.heartbeat(asked_at)

    def namesakes_s(self) -> float:
        """Seconds for which a process that lost its static name before this generation began may still act.

        0 in a group without such names: there a generation begins when everybody has joined again, or is past its
        session.
        """
        if not self._is_static:
            return 0.0
        return max(self._joined_at + self._fresh_s + SAFETY_S - self._clock(), 0.0)

    def expel(self) -> None:
        """The place in the group is another process's for good: nothing may be sent, and nothing finished."""
        self._heartbeat_at = float("-inf")
        self._active = self._leaving = NOT_A_MEMBER

    def heartbeat_age_s(self) -> float:
        """Seconds since the last request by which the group knows that this member is alive; infinite before any."""
        return self._clock() - self._heartbeat_at

    def heard(self) -> bool:
        """Whether the group knows by a fresh heartbeat that this member is alive."""
        return self.heartbeat_age_s() < self._fresh_s

    def suspend(self) -> None:
        """The partitions are about to go."""
        if self._active != NOT_A_MEMBER:
            self._leaving = self._active
        self._active = NOT_A_MEMBER

    def resume(self, generation: int, assigned: frozenset[TP]) -> None:
        """Records of `assigned` may flow."""
        self._assigned = assigned
        self._leaving = NOT_A_MEMBER
        self._active = generation

    def may_send(self, generation: int) -> bool:
        """Whether effects of records that were delivered under `generation` may leave this process now.

        No does not mean never: brokers that were away for longer than a heartbeat may find the same generation alive.
        Hold the work for as long as `is_current`; what is dropped before is missing in the order of acknowledgements.
        """
        return generation == self._active and self._is_alive(generation)

    def may_finish(self, generation: int) -> bool:
        """Whether work that was begun under `generation` may still be ended while its partitions are given away.

        The group waits for this member to join again before it gives them to others, so until then they are ours: as
        long as the driver has the same generation and heartbeats are answered.
        """
        return generation in {self._active, self._leaving} and self._is_alive(generation)

    def _is_alive(self, generation: int) -> bool:
        return generation > 0 and generation == self._coordinator.generation and self.heard()

    def is_current(self, generation: int) -> bool:
        """Whether records that were delivered under `generation` are this member's, as far as it knows.

        When they are not, they are another's for good, and work on them is to be dropped.
        """
        return generation > 0 and generation == self._active

    def is_lost(self, generation: int) -> bool:
        """Whether the group has gone on without the member that it had under `generation`.

        Its partitions are others' or nobody's, and nothing that was begun under it can be ended any more. While
        partitions are given away in order the driver keeps the generation, and so it does while no broker answers.
        """
        return generation > 0 and generation != self._coordinator.generation

    def assigned(self) -> frozenset[TP]:
        """The partitions of the last assignment that was completed."""
        return self._assigned

    def partitions_total(self, topic: str) -> int:
        """Number of partitions of the topic, over all members; 0 while unknown."""
        return self._coordinator.partitions_total(topic)
