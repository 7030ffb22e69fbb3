"""Vital signs of a worker, and what they mean: pure functions over a snapshot and the time that passed.

Kafka no longer evicts a worker that is stuck (`max.poll.interval` is out of reach, since an outage of Customer.io must
not cost the membership), so the process itself has to notice. It looks at progress, not at uptime: a worker that
retries against an API that is down for an hour makes progress; one whose records wait untouched does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.settings import Settings, Stage

PATIENCE_S: Final = 300.0
"""How long nothing may move while work waits. A rebalance with its grace takes 20 s, one request at most 8 s with
60 s between attempts; five minutes are a multiple of all of them together."""

MAX_STEP_S: Final = 10.0
"""Longest time between two beats that counts. A process that was frozen (SIGSTOP, a suspended host) did not idle: what
nobody watched is not held against it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no, with the reason in words that an operator can act on."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Vitals:
    """A worker at one moment.

    `delivered`, `acknowledged`, `committed` and `attempts` are counts since the start; only that they move matters.
    `unread` is how many records of the assigned partitions are known to lie at the broker and were not fetched yet,
    `undelivered` how many the stage holds and has not finished, `uncommitted` how many are done without the group's
    offset saying so. `generation` is -1 outside of the group. `waiting_for` is what a start waits for before it joins,
    such as another system that is down. `restoring` says how far the state of new partitions is. `heartbeat_age_s` is
    the age of the last heartbeat that the group answered, `session_s` how old it may become.
    """

    stage: Stage
    stopping: bool
    rebalancing: bool
    generation: int
    partitions: int
    delivered: int = 0
    acknowledged: int = 0
    committed: int = 0
    attempts: int = 0
    unread: int = 0
    undelivered: int = 0
    uncommitted: int = 0
    waiting_for: str | None = None
    restoring: str | None = None
    heartbeat_age_s: float | None = None
    session_s: float = Settings.model_fields["session_timeout_seconds"].default

    @property
    def progress(self) -> tuple[int, ...]:
        """Everything that moves when the worker works, a retry included; rebalances without work are no progress."""
        return (self.delivered, self.acknowledged, self.committed, self.attempts)

    @property
    def waiting(self) -> int:
        """Records that somebody still has to do something about."""
        return self.unread + self.undelivered + self.uncommitted


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the beats so far have shown: seconds watched without progress, and outside of the group."""

    at: float
    progress: tuple[int, ...]
    idle_s: float = 0.0
    outside_s: float = 0.0


def beat(pulse: Pulse | None, vitals: Vitals, now: float) -> Pulse:
    """The pulse after one more look at the worker; `now` is monotonic seconds."""
    if pulse is None:
        return Pulse(at=now, progress=vitals.progress)
    step = min(max(now - pulse.at, 0.0), MAX_STEP_S)
    still = vitals.waiting > 0 and vitals.progress == pulse.progress and not vitals.stopping
    outside = vitals.generation < 0 and not vitals.stopping and vitals.waiting_for is None
    return Pulse(
        at=now,
        progress=vitals.progress,
        idle_s=pulse.idle_s + step if still else 0.0,
        outside_s=pulse.outside_s + step if outside else 0.0,
    )


def live(pulse: Pulse, vitals: Vitals, patience_s: float = PATIENCE_S) -> Verdict:
    """Whether the process is worth keeping; a restart is the cure for a no."""
    if pulse.outside_s > patience_s:
        holding = f" while it holds {vitals.partitions} partitions" if vitals.partitions else ""
        return Verdict(ok=False, reason=f"outside of the consumer group for {pulse.outside_s:.0f} s{holding}")
    if pulse.idle_s > patience_s:
        return Verdict(
            ok=False,
            reason=f"{vitals.waiting} records wait and nothing was delivered, acknowledged, committed or retried "
            f"for {pulse.idle_s:.0f} s",
        )
    if not vitals.waiting:
        return Verdict(ok=True, reason="no record waits")
    return Verdict(ok=True, reason=f"work moved {pulse.idle_s:.0f} s ago")


def ready(vitals: Vitals) -> Verdict:
    """Whether records can flow through this process now; nobody answers before the start-up checks have passed."""
    if vitals.stopping:
        return Verdict(ok=False, reason="stopping")
    if vitals.waiting_for is not None:
        return Verdict(ok=False, reason=f"the start waits for {vitals.waiting_for}")
    if vitals.generation < 0:
        return Verdict(ok=False, reason="not a member of the consumer group")
    if vitals.restoring is not None:
        return Verdict(ok=False, reason=vitals.restoring)
    if vitals.rebalancing:
        return Verdict(ok=False, reason="the consumer group is rebalancing")
    if vitals.heartbeat_age_s is not None and vitals.heartbeat_age_s > vitals.session_s:
        return Verdict(ok=False, reason=f"the brokers have answered no heartbeat for {vitals.heartbeat_age_s:.0f} s")
    if not vitals.partitions:
        return Verdict(ok=True, reason="standing by: the group has more members than partitions")
    return Verdict(ok=True, reason=f"{vitals.partitions} partitions assigned")
