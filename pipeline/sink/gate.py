"""The gate that every request of every lane passes: shut while Customer.io asks to wait, or takes nothing.

A wrong key, a wrong region and an outage are no fault of any record. So nothing is dropped, the membership is kept, and
one lane at a time asks again, slowly, until the cause is gone. `holds` decides; this waits and tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pipeline import logs
from pipeline.sink.events import LanesHeld, LanesReleased, SinkEvent, StillHeld
from pipeline.sink.handover import SinkHandOver, wake
from pipeline.sink.holds import Change, HoldCause, Holds

log = logs.get(__name__)

LOOK_S: Final = 60.0
"""A hold may last five minutes, as long as a process may show no sign of life; each minute is told."""

ENTERED: Final = {
    "credentials": "Customer.io refuses this sink; nothing is sent until that is mended, and nothing is lost",
    "region": "Customer.io refuses this sink; nothing is sent until that is mended, and nothing is lost",
    "outage": "Customer.io takes nothing; everything waits until it does, and nothing is lost",
}
LEFT: Final = {
    "credentials": "Customer.io takes the credentials again",
    "region": "Customer.io takes the credentials again",
    "outage": "Customer.io takes operations again",
}
TODO: Final = (
    "set PIPELINE_CUSTOMERIO_SITE_ID and PIPELINE_CUSTOMERIO_API_KEY to the workspace's Track API credentials, "
    "PIPELINE_CUSTOMERIO_REGION to its region, and restart"
)


@dataclass(frozen=True, slots=True)
class Pass:
    """The right of a lane to send one request; `asks` when it is the one that tries again during a hold."""

    lane: int
    asks: bool


class Gate:
    """Shut by `wait` (Retry-After), `refused` and `failed`; opened by time, or by an answer that ends the hold."""

    def __init__(self, handover: SinkHandOver, emit: Callable[[SinkEvent], None], lanes: int) -> None:
        self._handover = handover
        self._emit = emit
        self._holds = Holds(lanes)
        self._until = 0.0
        self._waiting: set[int] = set()
        self._naps: set[asyncio.Future[bool]] = set()
        self.began = self._holds.began
        self.ended = self._holds.ended

    @property
    def held(self) -> HoldCause | None:
        """Why nothing flows, None while it does."""
        return self._holds.cause

    @property
    def fault(self) -> str | None:
        """Why nothing flows until a person acts, None while nobody has to."""
        return self._holds.reason if self._holds.cause in {"credentials", "region"} else None

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
                    return Pass(lane, asks=False)
                if holds.may_ask(lane, self._held_ones()):
                    holds.asks(lane, now)
                    return Pass(lane, asks=True)
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
        """Whether `given` still holds; the gate may have shut since."""
        return self._until <= _now() and (given.asks or not self._holds.holds(given.lane))

    def wait(self, seconds: float, reason: str) -> None:
        """Nobody sends for `seconds`: Customer.io asked for it."""
        until = _now() + seconds
        if until <= self._until:
            return
        self._until = until
        self._emit(LanesHeld("retry-after", reason, seconds))

    def refused(self, given: Pass, cause: Literal["credentials", "region"], reason: str) -> None:
        """Customer.io refused the credentials: hold all lanes, raise the alarm once, ask again slowly."""
        self._tell(self._holds.refused(given.lane, cause, reason, _now()), given, reason)

    def failed(self, given: Pass, reason: str, *, throttled: bool = False) -> None:
        """Nothing came of the request: hold all lanes when all of them fail."""
        change = self._holds.failed(given.lane, reason, _now(), throttled=throttled)
        self._tell(change, given, reason if self._holds.cause == "outage" else "")

    def answered(self, given: Pass) -> None:
        """An answer came that is no refusal of the credentials."""
        self._tell(self._holds.answered(given.lane, _now()), given, "")

    def accepted(self, given: Pass) -> None:
        """Customer.io took operations."""
        self._tell(self._holds.answered(given.lane, _now()) or self._holds.accepted(_now()), given, "")

    def left(self, given: Pass) -> None:
        """The request was not sent."""
        if given.asks:
            self._holds.left(given.lane)
            self._wake()

    def _shut_until(self, lane: int) -> float:
        return max(self._until, self._holds.until if self._holds.holds(lane) else 0.0)

    def _held_ones(self) -> set[int]:
        return {lane for lane in self._waiting if self._holds.holds(lane)}

    def _tell(self, change: Change | None, given: Pass, reason: str) -> None:
        if change is not None:
            if change.before is not None:
                if change.after is None:
                    log.info(LEFT[change.before], cause=change.before, held_s=round(change.held_s, 1))
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
        else:
            log.error(ENTERED[cause], cause=cause, reason=reason, todo=TODO)

    def _wake(self) -> None:
        for nap in list(self._naps):
            wake(nap)


def _now() -> float:
    return asyncio.get_running_loop().time()
