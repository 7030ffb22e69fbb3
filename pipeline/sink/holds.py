"""Holds: why nothing is sent, as a small circuit breaker: a state machine with the clock passed in.

| state | entered when | who waits | left when |
|---|---|---|---|
| flowing | at first | nobody | |
| credentials, region | two requests without a common operation are refused, and nothing is accepted between them | all lanes | the lane that asks is answered by Customer.io, be it with a refusal of the operation |
| the same, in doubt | one operation is refused again and again, and no other is there to compare with | the lanes that were refused | the same, or any operation is accepted |
| outage | every lane with work fails, and so often that it is no accident | the lanes that failed | any operation is accepted |

Partitions that are assigned anew end every state: what was refused went with them, and there may be nothing left to
ask with. In every state but the first, one lane asks at a time (the one that has asked least recently), at an interval that
grows from 5 s to a minute. A lane that fails alone is no outage, and a lane that has not failed yet does not wait for
those that have: one customer's trouble holds up nobody else.
"""  # noqa: E501 - a table

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pipeline.sink.backoff import recheck

HoldCause = Literal["credentials", "region", "outage"]
Refused = Literal["credentials", "region"]
Ending = Literal["passed", "judged", "moved"]

OUTAGE_RUN: Final = 31
"""Failures in a row, over all lanes, that make an outage: if a fifth of all requests passed, as in a bad brown-out, so
many would fail in one of a thousand cases, and a hold would only slow down what still passes."""

OUTAGE_RUN_OF_A_LANE: Final = 6
"""So many of them in every lane with work: each has tried somebody else's operation by then (`judge`). Eight busy lanes
are there after ten seconds; what is shorter (a restart, a deployment) each lane's own backoff gets over."""

OUTAGE_S: Final = 30.0
"""Few lanes have not failed so often before their pauses are long. For them six failures a lane are enough, when there
was nothing else for so long."""

OUTAGE_FAILURES_OF_A_LANE: Final = 2
"""Once each may be an accident that hit all lanes at the same time."""

OUTAGE_LANES: Final = 2
"""One lane that fails may have a record that nobody can deliver."""


@dataclass(frozen=True, slots=True)
class Change:
    """The state changed: from `before` to `after`, None standing for flowing; `held_s` is how long `before` lasted.

    Both are the same when a refusal that was one operation's so far turns out to be everybody's. `how` it ended:
    Customer.io answers or takes operations (passed), nothing that failed is left, each having been judged by what is in
    it (judged), or the partitions were assigned anew (moved).
    """

    before: HoldCause | None
    after: HoldCause | None
    reason: str
    held_s: float
    how: Ending = "passed"


class Holds:
    """The state of all lanes of one sink. Each method takes the time; one that changes the state returns the change."""

    def __init__(self, lanes: int) -> None:
        self.cause: HoldCause | None = None
        self.reason = ""
        self.until = 0.0
        self.everybody = False
        self.since = 0.0
        self.throttled_since: float | None = None
        self.throttled_reason = ""
        self._lanes = lanes
        self._changed_at = 0.0
        self._rechecks = 0
        self._asking: int | None = None
        self._asked_at: dict[int, float] = {}
        self._working: set[int] = set()
        self._refused: set[int] = set()
        self._failures: dict[int, int] = {}
        self._failing_since = 0.0
        self._run = 0

    def began(self, lane: int) -> None:
        """The lane begins a batch."""
        self._working.add(lane)

    def ended(self, lane: int) -> None:
        """The lane has finished its batch."""
        self._working.discard(lane)
        self._refused.discard(lane)
        self._failures.pop(lane, None)

    def holds(self, lane: int) -> bool:
        """Whether the lane has to wait for its turn to send a trial request."""
        return self.cause is not None and (self.everybody or lane in self._failures or lane in self._refused)

    def may_ask(self, lane: int, waiting: set[int]) -> bool:
        """Whether the lane may send the next trial request."""
        if self._asking is not None:
            return False
        return lane == min(waiting, key=lambda one: (self._asked_at.get(one, float("-inf")), one), default=lane)

    def asks(self, lane: int, now: float) -> None:
        """The lane sends a trial request; no other lane does until it is answered."""
        self._asking = lane
        self._asked_at[lane] = now

    def left(self, lane: int) -> None:
        """The lane did not send the trial request after all."""
        if self._asking == lane:
            self._asking = None

    def refused(self, lane: int, cause: Refused, reason: str, now: float, *, everybody: bool = True) -> Change | None:
        """The lane's credentials were refused, or it was sent elsewhere: as `everybody` is, or alone."""
        asked = self._asking == lane
        self._refused.add(lane)
        self._asked_at.setdefault(lane, now)  # those who have not asked yet know more
        if self.cause == cause and not asked and self.everybody >= everybody:
            return None  # was in flight when another lane met the same
        change = None
        if self.cause != cause or everybody > self.everybody:
            change = self._enter(cause, reason, now, since=now if self.cause != cause else self.since)
            self.everybody = everybody
        self._again(now)
        return change

    def failed(self, lane: int, reason: str, now: float, *, throttled: bool = False) -> Change | None:
        """A request failed. `throttled`: by a 429, so Customer.io is up and wants fewer requests."""
        asked = self._asking == lane
        if not self._failures:
            self._failing_since, self._run = now, 0
        self._failures[lane] = self._failures.get(lane, 0) + 1
        self._run += not throttled
        if throttled:
            self.throttled_since = now if self.throttled_since is None else self.throttled_since
            self.throttled_reason = reason
        if self.cause is not None:
            if asked:
                self._again(now)
            return None
        if throttled or not self._is_outage(now):
            return None
        change = self._enter("outage", reason, now, since=self._failing_since)
        self._again(now)
        return change

    def answered(self, lane: int, now: float) -> Change | None:
        """An answer came that is neither a refusal of the credentials nor a failure; it may have accepted nothing."""
        asked = self._asking == lane
        self.left(lane)
        return self._leave(now) if asked and self.cause in {"credentials", "region"} else None

    def judged(self, lane: int, now: float) -> Change | None:
        """The failed batch of the lane was judged by its content."""
        self._failures.pop(lane, None)
        return self._leave(now, how="judged") if self.cause == "outage" and not self._failures else None

    def moved(self, now: float) -> Change | None:
        """The partitions were assigned anew: failed batches go with them, and no lane may have one."""
        self._failures.clear()
        self._refused.clear()
        self.throttled_since = None
        return self._leave(now, how="moved") if self.cause is not None else None

    def accepted(self, now: float) -> Change | None:
        """Customer.io took operations."""
        self._failures.clear()
        self.throttled_since = None
        return self._leave(now) if self.cause is not None and not self.everybody else None

    def _is_outage(self, now: float) -> bool:
        failing = self._failures
        if len(failing) < min(OUTAGE_LANES, self._lanes):
            return False
        least = min((failing.get(lane, 0) for lane in self._working), default=0)
        if now - self._failing_since < OUTAGE_S:
            return self._run >= OUTAGE_RUN and least >= OUTAGE_RUN_OF_A_LANE
        few = OUTAGE_RUN_OF_A_LANE * len(self._working)
        return self._run >= min(few, OUTAGE_RUN) and least >= OUTAGE_FAILURES_OF_A_LANE

    def _enter(self, cause: HoldCause, reason: str, now: float, *, since: float) -> Change:
        change = Change(self.cause, cause, reason, now - self._changed_at)
        self.cause, self.reason, self.since, self._changed_at, self._rechecks = cause, reason, since, now, 0
        self.everybody = False
        return change

    def _leave(self, now: float, *, how: Ending = "passed") -> Change:
        change = Change(self.cause, None, self.reason, now - self._changed_at, how)
        self.cause, self.reason, self.until, self._asking, self._changed_at = None, "", 0.0, None, now
        self.everybody = False
        self._failures.clear()
        self._refused.clear()
        return change

    def _again(self, now: float) -> None:
        """The next trial request comes after a longer interval than the last one."""
        self._asking = None
        self._rechecks += 1
        self.until = now + recheck(self._rechecks)
