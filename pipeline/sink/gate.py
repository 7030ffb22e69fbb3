"""The gate (circuit breaker) before every request of every lane: shut while Customer.io asks to wait, or is down.

A wrong key, a wrong region and an outage are no fault of any record. So nothing is dropped, the membership is kept, and
one lane at a time asks again, slowly, until the cause is gone. `holds` decides; this waits and logs: one line when a
hold begins and one when it ends, and in `holding` whenever probes ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline import logs
from pipeline.sink.doubt import Whose
from pipeline.sink.events import LanesHeld, LanesReleased, SinkEvent, StillHeld
from pipeline.sink.handover import Assignment, SinkHandOver, wake
from pipeline.sink.holds import Change, HoldCause, Holds, Refused

log = logs.get(__name__)

LOOK_S: Final = 60.0
"""A hold may last five minutes, as long as a process may show no sign of life; each minute is reported."""

PACE_S: Final = 10.0
"""A Retry-After below is pace; a longer one is reported to probes like a hold."""

SLOW_S: Final = 30.0
"""Only 429s for so long are worth reporting: a throttled rate finds its level within seconds."""

ENTERED: Final = {
    "credentials": "Customer.io refuses this sink; nothing is sent until that is mended, and nothing is lost",
    "region": "Customer.io refuses this sink; nothing is sent until that is mended, and nothing is lost",
    "outage": "Customer.io takes nothing; everything waits until it does, and nothing is lost",
}
IN_DOUBT: Final = (
    "Customer.io refuses the only operation that there is: for the credentials or for what is in it, the next other "
    "person's operation tells; nothing is lost"
)
LEFT: Final = {
    "credentials": "Customer.io takes the credentials again",
    "region": "Customer.io takes the credentials again",
    "outage": "Customer.io takes operations again",
}
OTHERWISE: Final = {
    "judged": "Customer.io may take others' operations: those that failed were refused for what is in them",
    "moved": "the partitions were assigned anew; whether Customer.io takes operations is found out again",
}
WHAT: Final = {
    "credentials": "Customer.io refuses the credentials",
    "region": "the workspace lives elsewhere",
    "outage": "Customer.io takes nothing",
}
TODO: Final = (
    "set PIPELINE_CUSTOMERIO_SITE_ID and PIPELINE_CUSTOMERIO_API_KEY to the workspace's Track API credentials, "
    "PIPELINE_CUSTOMERIO_REGION to its region, and restart"
)


@dataclass(frozen=True, slots=True)
class Pass:
    """The right of a lane to send one request of an assignment; `asks` when it is the one that tries during a hold."""

    lane: int
    asks: bool
    assignment: Assignment


class Gate:
    """Shut by `wait` (Retry-After), `refused` and `failed`; opened by time, or by an answer that ends the hold."""

    def __init__(self, handover: SinkHandOver, emit: Callable[[SinkEvent], None], lanes: int) -> None:
        self._handover = handover
        self._emit = emit
        self._holds = Holds(lanes)
        self._until = 0.0
        self._asked_for = 0.0
        self._asked_why = ""
        self._waiting: set[int] = set()
        self._naps: set[asyncio.Future[bool]] = set()
        handover.on_resume.append(self._moved)
        self.began = self._holds.began
        self.ended = self._holds.ended
        self.holds = self._holds.holds

    @property
    def held(self) -> HoldCause | None:
        """The cause for which nothing is sent, None while requests pass."""
        return self._holds.cause

    @property
    def fault(self) -> str | None:
        """The cause that only a person can remove, in words for probes; None where there is none."""
        return self.holding if self._holds.cause in {"credentials", "region"} else None

    @property
    def holding(self) -> str | None:
        """What holds all lanes, and for how long already, in words for probes; None while nothing does."""
        holds, now = self._holds, _now()
        if holds.cause is not None:
            waits = "everything waits" if holds.everybody or holds.cause == "outage" else "what was refused waits"
            return f"{WHAT[holds.cause]} ({holds.reason}) for {now - holds.since:.0f} s; {waits}"
        if self._asked_for >= PACE_S and now < self._until:
            return f"Customer.io asked to wait ({self._asked_why}) for another {self._until - now:.0f} s"
        if holds.throttled_since is not None and now - holds.throttled_since >= SLOW_S:
            return f"Customer.io takes nothing ({holds.throttled_reason}) for {now - holds.throttled_since:.0f} s"
        return None

    def shut_s(self, lane: int) -> float:
        """Seconds, to the millisecond, for which nobody lets `lane` pass."""
        return max(round(self._shut_until(lane) - _now(), 3), 0.0)

    async def enter(self, lane: int) -> Pass | None:
        """Wait until `lane` may send a request; hand the pass back with one of the others.

        None when a hand-over begins; during one, what is shut stays shut.
        """
        self._waiting.add(lane)
        try:
            return await self._enter(lane)
        finally:
            self._waiting.discard(lane)

    async def _enter(self, lane: int) -> Pass | None:
        while self._handover.is_open:
            now, holds = _now(), self._holds
            held = holds.holds(lane)
            wait_s = self._shut_until(lane) - now
            if wait_s <= 0:
                if not held:
                    return Pass(lane, asks=False, assignment=self._handover.assignment)
                if holds.may_ask(lane, self._held_ones()):
                    holds.asks(lane, now)
                    return Pass(lane, asks=True, assignment=self._handover.assignment)
                wait_s = LOOK_S  # until the one that asks was answered
            if self._handover.is_finishing:
                return None
            nap = self._handover.nap(min(wait_s, LOOK_S))
            self._naps.add(nap)
            try:
                if not await nap:
                    return None
            finally:
                self._naps.discard(nap)
            if wait_s > LOOK_S:
                self._emit(StillHeld(wait_s - LOOK_S))
        return None

    def honours(self, given: Pass) -> bool:
        """Whether `given` is still valid; the gate may have shut since."""
        return self._until <= _now() and (given.asks or not self._holds.holds(given.lane))

    def wait(self, seconds: float, reason: str) -> None:
        """Nobody sends for `seconds`: Customer.io asked for it."""
        until = _now() + seconds
        if until <= self._until:
            return
        self._until = until
        self._asked_for, self._asked_why = seconds, reason
        self._emit(LanesHeld("retry-after", reason, seconds))

    def refused(self, given: Pass, cause: Refused, reason: str, whose: Whose | None, *, stubborn: bool) -> None:
        """The credentials were refused: to everybody, so hold all lanes, raise the alarm once and ask again slowly.

        As long as that is unknown nobody else is held, and this lane only when its request is a `stubborn` one: of one
        operation, refused again and again. When others' are accepted (`whose` is None) nobody is.
        """
        if whose is None:
            self.answered(given)
            return
        if self._is_late(given):
            return
        held = self._holds.cause == cause and self._holds.everybody
        everybody = held or whose == "everybody's"
        if everybody or stubborn or given.asks:
            change = self._holds.refused(given.lane, cause, reason, _now(), everybody=everybody)
            self._tell(change, given, reason)

    def failed(self, given: Pass, reason: str, *, throttled: bool = False) -> None:
        """The request failed: hold all lanes when all of them fail."""
        if self._is_late(given):
            return
        change = self._holds.failed(given.lane, reason, _now(), throttled=throttled)
        self._tell(change, given, reason if self._holds.cause == "outage" else "")

    def refused_content(self, given: Pass, reason: str) -> None:
        """Customer.io refused an operation for what is in it, which it may do to everybody's.

        So it takes the credentials, whoever is to blame.
        """
        if self._holds.cause in {"credentials", "region"}:
            self.answered(given)
        self.failed(given, reason)

    def answered(self, given: Pass) -> None:
        """An answer came that is no refusal of the credentials."""
        self._tell(self._holds.answered(given.lane, _now()), given, "")

    def judged(self, given: Pass) -> None:
        """The request failed for what is in it."""
        now = _now()
        self._tell(self._holds.answered(given.lane, now) or self._holds.judged(given.lane, now), given, "")

    def accepted(self, given: Pass) -> None:
        """Customer.io took operations."""
        self._tell(self._holds.answered(given.lane, _now()) or self._holds.accepted(_now()), given, "")

    def left(self, given: Pass) -> None:
        """The request was not sent."""
        if given.asks:
            self._holds.left(given.lane)
            self._wake()

    def _moved(self, assignment: Assignment) -> None:
        self._tell(self._holds.moved(_now()), Pass(0, asks=False, assignment=assignment), "")

    def _is_late(self, given: Pass) -> bool:
        """Whether the request outlasted its partitions: nothing of it is sent again, so nothing would end its hold."""
        return given.assignment is not self._handover.assignment

    def _shut_until(self, lane: int) -> float:
        return max(self._until, self._holds.until if self._holds.holds(lane) else 0.0)

    def _held_ones(self) -> set[int]:
        return {lane for lane in self._waiting if self._holds.holds(lane)}

    def _tell(self, change: Change | None, given: Pass, reason: str) -> None:
        if change is not None:
            if change.before is not None:
                if change.after is None:
                    text = OTHERWISE.get(change.how) or LEFT[change.before]
                    log.info(text, cause=change.before, held_s=round(change.held_s, 1))
                if change.after != change.before:
                    self._emit(LanesReleased(change.before, change.held_s))
            if change.after is not None:
                self._log(change.after, change.reason)
        cause = self._holds.cause
        if cause is not None and reason and (change is not None or given.asks):
            self._emit(LanesHeld(cause, reason, self.shut_s(given.lane)))
        if change is not None or given.asks:
            self._wake()

    def _log(self, cause: HoldCause, reason: str) -> None:
        if cause == "outage":
            log.warning(ENTERED[cause], cause=cause, reason=reason)
        elif self._holds.everybody:
            log.error(ENTERED[cause], cause=cause, reason=reason, todo=TODO)
        else:
            log.warning(IN_DOUBT, cause=cause, reason=reason)

    def _wake(self) -> None:
        for nap in list(self._naps):
            wake(nap)


def _now() -> float:
    return asyncio.get_running_loop().time()
