"""Judges a worker's liveness and readiness from its vital signs: pure functions of a snapshot and the time that passed.

Kafka no longer evicts a worker that is stuck (`max.poll.interval` is out of reach, since an outage of Customer.io must
not cost the membership), so the process itself has to notice. It looks at progress, not at uptime, and at each
partition by itself: one that stands still is not hidden by others that move. A partition's records are in one of three
places, and each has a timer of its own:

| where | its timer runs while | and is reset by |
|---|---|---|
| in the stage | the oldest of them is not finished, even if later ones are | its end, or an attempt |
| done | the group's offset does not change | a commit, or an attempt at one |
| at the broker | they can be read and the stage has none | a delivery, an attempt, backpressure |

The first and the last stand at 0 while the brokers answer no heartbeat: nothing may leave then, and a restart would not
help.

The worker has three more timers: while it is outside of a group that it could join, while the consumer's thread does
not answer, and while assigned partitions have not begun to flow (their records count as waiting).

So a worker that retries against an API that is down for an hour is alive, and one with a record that is not tried is
not, although its other records move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.watch.vitals import PartitionVitals, Verdict, Vitals

if TYPE_CHECKING:  # ingest knows vitals, and is no Faust app
    from faust.types import TP

PATIENCE_S: Final = 300.0
"""How long a partition may make no progress. A rebalance with its grace takes 20 s, one request at most 8 s with 60 s
between attempts; five minutes are a multiple of all of them together."""

MAX_STEP_S: Final = 10.0
"""Longest time between two beats that counts. A process that was frozen (SIGSTOP, a suspended host) could not work:
that time does not count against it."""


@dataclass(frozen=True, slots=True)
class PartitionPulse:
    """The timers of one partition, in seconds.

    `stage_s`, `commit_s` and `fetch_s` are the three of the table. `unfinished_s` is how long the stage has held its
    oldest record, and `commit_age_s` how long the group's offset has not changed while records waited; attempts do not
    reset these two.
    """

    place: PartitionVitals
    stage_s: float = 0.0
    commit_s: float = 0.0
    fetch_s: float = 0.0
    unfinished_s: float = 0.0
    commit_age_s: float = 0.0

    @property
    def still_s(self) -> float:
        """How long the partition has made no progress: the longest of its three timers."""
        return max(self.stage_s, self.commit_s, self.fetch_s)

    @property
    def trouble(self) -> str:
        """What makes no progress, and where."""
        place = self.place
        if self.stage_s == self.still_s:
            return (
                f"its oldest unfinished record, offset {place.oldest}, was neither finished nor tried again, and "
                f"{place.waiting} records wait"
            )
        if self.commit_s == self.still_s:
            return (
                f"everything below offset {place.acknowledged} is done, and neither did the group's offset "
                f"{place.committed} move nor was a commit tried"
            )
        from_ = f" from offset {place.delivered} on" if place.delivered is not None else ""
        return f"{place.unread} records can be read{from_}, and nothing was delivered"


@dataclass(frozen=True, slots=True)
class Pulse:
    """All timers of a worker after the last beat: those of each partition, and its own.

    `moved_s` and `tried_s` are seconds since any record moved, or was tried again, while some wait; `held_s` is how
    long the stage has held its records back. `outside_s` is how long it has been outside of the group, `silent_s` how
    long the consumer's thread has not answered, and `settling_s` how long partitions have been assigned without a
    record of theirs flowing, or any step towards that.
    """

    at: float
    progress: tuple[int, int, int]
    attempts: int = 0
    answers: int = 0
    partitions: Mapping[TP, PartitionPulse] = field(default_factory=dict)
    moved_s: float = 0.0
    tried_s: float = 0.0
    held_s: float = 0.0
    is_held: bool = False
    outside_s: float = 0.0
    silent_s: float = 0.0
    settling_s: float = 0.0

    @property
    def worst(self) -> tuple[TP, PartitionPulse] | None:
        """The partition that has made no progress for longest."""
        return max(self.partitions.items(), key=lambda item: (item[1].still_s, item[0]), default=None)


def beat(pulse: Pulse | None, vitals: Vitals, now: float) -> Pulse:
    """The timers after one more snapshot of the worker; `now` is monotonic seconds."""
    if pulse is None:
        pulse = Pulse(at=now, progress=vitals.progress, attempts=vitals.attempts, answers=vitals.answers)
    step = min(max(now - pulse.at, 0.0), MAX_STEP_S)
    may_join = not vitals.coordinator_away and vitals.waiting_for is None
    outside = vitals.generation < 0 and not vitals.stopping and may_join
    silent = vitals.asked and vitals.answers == pulse.answers and not vitals.stopping
    # If heartbeats get no answer, the brokers are away, and a restart would not help.
    settling = vitals.rebalancing and vitals.generation >= 0 and not vitals.stopping and vitals.is_heard
    return Pulse(
        at=now,
        progress=vitals.progress,
        attempts=vitals.attempts,
        answers=vitals.answers,
        partitions={}
        if vitals.stopping
        else {
            tp: _beat_of(pulse.partitions.get(tp), place, step, may_work=not vitals.is_unheard)
            for tp, place in vitals.places.items()
        },
        moved_s=pulse.moved_s + step if vitals.waiting and vitals.progress == pulse.progress else 0.0,
        tried_s=pulse.tried_s + step if vitals.waiting and vitals.attempts == pulse.attempts else 0.0,
        held_s=pulse.held_s + step if vitals.hold is not None and pulse.is_held else 0.0,
        is_held=vitals.hold is not None,
        outside_s=pulse.outside_s + step if outside else 0.0,
        silent_s=pulse.silent_s + step if silent else 0.0,
        settling_s=pulse.settling_s + step if settling and vitals.attempts == pulse.attempts else 0.0,
    )


def _beat_of(before: PartitionPulse | None, now: PartitionVitals, step: float, *, may_work: bool) -> PartitionPulse:
    """The same for one partition, from which nothing may leave while no heartbeat is answered."""
    if before is None:
        return PartitionPulse(now)
    was = before.place
    unfinished = bool(now.undelivered and was.undelivered) and now.acknowledged == was.acknowledged
    uncommitted = bool(now.uncommitted and was.uncommitted) and now.committed == was.committed
    waiting = bool(now.waiting and was.waiting) and now.committed == was.committed
    excused, tried = not may_work or now.attempts != was.attempts, now.tries != was.tries
    # Records in the stage have a timer of their own; they may well be why nothing more is fetched.
    unread = bool(now.unread and was.unread) and now.delivered == was.delivered and not now.undelivered
    return PartitionPulse(
        now,
        stage_s=before.stage_s + step if unfinished and not excused else 0.0,
        commit_s=before.commit_s + step if uncommitted and not tried else 0.0,
        fetch_s=before.fetch_s + step if unread and not excused else 0.0,
        unfinished_s=before.unfinished_s + step if unfinished else 0.0,
        commit_age_s=before.commit_age_s + step if waiting else 0.0,
    )


def live(pulse: Pulse, vitals: Vitals, patience_s: float = PATIENCE_S) -> Verdict:
    """Whether the process should run on; if not, a restart helps."""
    if pulse.outside_s > patience_s:
        holding = f" while it holds {vitals.partitions} partitions" if vitals.partitions else ""
        return Verdict(ok=False, reason=f"outside of the consumer group for {pulse.outside_s:.0f} s{holding}")
    if pulse.silent_s > patience_s:
        reason = f"the consumer's thread has not answered for {pulse.silent_s:.0f} s: nothing is read from Kafka"
        return Verdict(ok=False, reason=reason)
    if pulse.settling_s > patience_s:
        what = vitals.restoring or "a rebalance that does not end"
        return Verdict(ok=False, reason=f"no record has flowed for {pulse.settling_s:.0f} s, without a step: {what}")
    if pulse.worst is not None and pulse.worst[1].still_s > patience_s:
        tp, worst = pulse.worst
        others = sum(one.still_s > patience_s for one in pulse.partitions.values()) - 1
        more = f"; the same of {others} more partitions" if others else ""
        where = f"{tp.topic}/{tp.partition} has stood still for {worst.still_s:.0f} s"
        return Verdict(ok=False, reason=f"{where}: {worst.trouble}{more}")
    if not vitals.waiting:
        return Verdict(ok=True, reason="no record waits")
    if vitals.hold is not None:
        return Verdict(ok=True, reason=f"held for {pulse.held_s:.0f} s: {vitals.hold}; {vitals.waiting} records wait")
    tried = f", tried again {pulse.tried_s:.0f} s ago" if pulse.tried_s < pulse.moved_s else ""
    return Verdict(ok=True, reason=f"{vitals.waiting} records wait; work moved {pulse.moved_s:.0f} s ago{tried}")


def ready(vitals: Vitals) -> Verdict:
    """Whether records can flow through this process now; the port does not answer before the start-up checks passed.

    A fault that needs a person makes it not ready, so that a rollout stops before it has replaced what works. An outage
    of the other side does not, and is only named: every replica has it, and taking one out of service would not help.
    """
    if vitals.stopping:
        return Verdict(ok=False, reason="stopping")
    if vitals.waiting_for is not None:
        return Verdict(ok=False, reason=f"the start waits for {vitals.waiting_for}")
    if vitals.fault is not None:
        return Verdict(ok=False, reason=f"held until somebody acts: {vitals.fault}")
    if vitals.generation < 0:
        return Verdict(ok=False, reason="not a member of the consumer group")
    if vitals.gone:
        return Verdict(
            ok=False,
            reason=f"topic {', '.join(vitals.gone)} does not exist, or has no partitions: was it deleted? "
            "(`dodo-cio topics check`); reading goes on as soon as it is back",
        )
    if vitals.restoring is not None:
        return Verdict(ok=False, reason=vitals.restoring)
    if vitals.rebalancing:
        return Verdict(ok=False, reason="the consumer group is rebalancing")
    if vitals.is_unheard:
        return Verdict(ok=False, reason=f"the brokers have answered no heartbeat for {vitals.heartbeat_age_s:.0f} s")
    held = f"; held: {vitals.holding}" if vitals.holding is not None else ""
    held += "".join(f"; {said}" for said in (vitals.lost, vitals.clock) if said is not None)
    if not vitals.partitions:
        return Verdict(ok=True, reason=f"standing by: the group has more members than partitions{held}")
    return Verdict(ok=True, reason=f"{vitals.partitions} partitions assigned{held}")
