"""Holds: why nothing flows, as a small state machine with the clock passed in.

| state | entered when | all lanes | left when |
|---|---|---|---|
| flowing | at first | send | |
| credentials, region | Customer.io refuses the credentials or redirects | wait | the lane that asks is answered |
| outage | every lane with work failed repeatedly for 30 s | those that failed wait | any operation is accepted |

In every state but the first, one lane asks at a time (the one that has asked least recently), at an interval that
grows from 5 s to a minute. A lane that fails alone is no outage, and a lane that has not failed yet does not wait for
those that have: one customer's trouble holds up nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pipeline.sink.backoff import recheck

HoldCause = Literal["credentials", "region", "outage"]

OUTAGE_FAILURES: Final = 5
"""Failures in a row, over all lanes, that make an outage; below, a lane's own backoff gets over it sooner."""

OUTAGE_S: Final = 30.0
"""Seconds in which nothing but failures came; what is shorter (a restart, a deployment) each lane's own backoff gets
over sooner than an interval of a minute."""

OUTAGE_FAILURES_OF_A_LANE: Final = 2
"""Once each may be an accident that hit all lanes at the same time."""

OUTAGE_LANES: Final = 2
"""One lane that fails may have a record that nobody can deliver."""


@dataclass(frozen=True, slots=True)
class Change:
    """The state changed: from `before` to `after`, None standing for flowing; `held_s` is how long `before` lasted."""

    before: HoldCause | None
    after: HoldCause | None
    reason: str
    held_s: float


class Holds:
    """The state of all lanes of one sink. Every method takes the time; those that may change the state say so."""

    def __init__(self, lanes: int) -> None:
        self.cause: HoldCause | None = None
        self.reason = ""
        self.until = 0.0
        self._lanes = lanes
        self._since = 0.0
        self._rechecks = 0
        self._asking: int | None = None
        self._asked_at: dict[int, float] = {}
        self._working: set[int] = set()
        self._failures: dict[int, int] = {}
        self._failing_since = 0.0

    def began(self, lane: int) -> None:
        """The lane has a batch in hand."""
        self._working.add(lane)

    def ended(self, lane: int) -> None:
        """The lane's batch is at its end."""
        self._working.discard(lane)
        self._failures.pop(lane, None)

    def holds(self, lane: int) -> bool:
        """Whether the lane has to wait for its turn to ask."""
        return self.cause is not None and (self.cause != "outage" or lane in self._failures)

    def may_ask(self, lane: int, waiting: set[int]) -> bool:
        """Whether the lane is the one of those that wait whose turn it is."""
        if self._asking is not None:
            return False
        return lane == min(waiting, key=lambda one: (self._asked_at.get(one, float("-inf")), one), default=lane)

    def asks(self, lane: int, now: float) -> None:
        """The lane asks; nobody else does until it was answered."""
        self._asking = lane
        self._asked_at[lane] = now

    def left(self, lane: int) -> None:
        """The lane did not ask after all."""
        if self._asking == lane:
            self._asking = None

    def refused(self, lane: int, cause: Literal["credentials", "region"], reason: str, now: float) -> Change | None:
        """Customer.io refused the credentials, or sent the lane elsewhere."""
        asked = self._asking == lane
        if self.cause == cause and not asked:
            return None  # was in flight when another lane met the same
        change = self._enter(cause, reason, now) if self.cause != cause else None
        self._again(now)
        return change

    def failed(self, lane: int, reason: str, now: float, *, throttled: bool = False) -> Change | None:
        """Nothing came of a request. `throttled`: Customer.io is there, and wants less."""
        asked = self._asking == lane
        if not self._failures:
            self._failing_since = now
        self._failures[lane] = self._failures.get(lane, 0) + 1
        if self.cause is not None:
            if asked:
                self._again(now)
            return None
        if throttled or not self._is_outage(now):
            return None
        change = self._enter("outage", reason, now)
        self._again(now)
        return change

    def answered(self, lane: int, now: float) -> Change | None:
        """An answer came that is neither a refusal of the credentials nor a failure; it may have accepted nothing."""
        asked = self._asking == lane
        self.left(lane)
        return self._leave(now) if asked and self.cause in {"credentials", "region"} else None

    def accepted(self, now: float) -> Change | None:
        """Customer.io took operations."""
        self._failures.clear()
        return self._leave(now) if self.cause == "outage" else None

    def _is_outage(self, now: float) -> bool:
        failing = self._failures
        return (
            now - self._failing_since >= OUTAGE_S
            and sum(failing.values()) >= OUTAGE_FAILURES
            and len(failing) >= min(OUTAGE_LANES, self._lanes)
            and all(failing.get(lane, 0) >= OUTAGE_FAILURES_OF_A_LANE for lane in self._working)
        )

    def _enter(self, cause: HoldCause, reason: str, now: float) -> Change:
        change = Change(self.cause, cause, reason, now - self._since)
        self.cause, self.reason, self._since, self._rechecks = cause, reason, now, 0
        return change

    def _leave(self, now: float) -> Change:
        change = Change(self.cause, None, self.reason, now - self._since)
        self.cause, self.reason, self.until, self._asking, self._since = None, "", 0.0, None, now
        self._failures.clear()
        return change

    def _again(self, now: float) -> None:
        """Nobody asks before a longer interval than the last one is over."""
        self._asking = None
        self._rechecks += 1
        self.until = now + recheck(self._rechecks)
