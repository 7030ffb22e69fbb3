"""The gate that every request of every lane passes: shut while Customer.io asks to wait or refuses the credentials.

A wrong key or region is no fault of any record. So nothing is dropped, the membership is kept, and one lane at a time
asks again, slowly, until a person has mended it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pipeline import logs
from pipeline.sink.backoff import recheck
from pipeline.sink.events import LanesHeld, LanesReleased, SinkEvent, StillHeld
from pipeline.sink.handover import SinkHandOver, wake

log = logs.get(__name__)

LOOK_S: Final = 60.0
"""A hold may last five minutes, as long as a process may show no sign of life; each minute is told."""

HoldCause = Literal["credentials", "region"]


@dataclass(slots=True)
class _Fault:
    """Credentials that are refused, since when, and how often in a row."""

    cause: HoldCause
    reason: str
    since: float
    refusals: int
    asking: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """The right to send one request; `asks` when it is the one that tries refused credentials again."""

    asks: bool


class Gate:
    """Shut by `wait` (Retry-After) and `refused`; opened by time, or by an answer that shows the fault is gone."""

    def __init__(self, handover: SinkHandOver, emit: Callable[[SinkEvent], None]) -> None:
        self._handover = handover
        self._emit = emit
        self._until = 0.0
        self._fault: _Fault | None = None
        self._naps: set[asyncio.Future[bool]] = set()

    @property
    def fault(self) -> str | None:
        """Why the lanes are held until a person acts, None while they are not."""
        return self._fault.reason if self._fault else None

    async def enter(self) -> Pass | None:
        """Wait until a request may be sent; None when a hand-over began. Hand the pass back with one of the others."""
        loop = asyncio.get_running_loop()
        while self._handover.is_open:
            wait_s = self._until - loop.time()
            if wait_s <= 0:
                if self._fault is None:
                    return Pass(asks=False)
                if not self._fault.asking:
                    self._fault.asking = True
                    return Pass(asks=True)
                wait_s = recheck(self._fault.refusals)
            nap = self._handover.nap(min(wait_s, LOOK_S))
            self._naps.add(nap)
            try:
                await nap
            finally:
                self._naps.discard(nap)
            if wait_s > LOOK_S:
                self._emit(StillHeld(wait_s - LOOK_S))
        return None

    def honours(self, given: Pass) -> bool:
        """Whether `given` still holds; the gate may have shut since."""
        return self._until <= asyncio.get_running_loop().time() and (self._fault is None or given.asks)

    def wait(self, seconds: float, reason: str) -> None:
        """Nobody sends for `seconds`: Customer.io asked for it."""
        until = asyncio.get_running_loop().time() + seconds
        if until <= self._until:
            return
        self._until = until
        self._emit(LanesHeld("retry-after", reason, seconds))

    def refused(self, given: Pass, cause: HoldCause, reason: str) -> None:
        """Customer.io refused the credentials: hold all lanes, raise the alarm once, ask again slowly."""
        now = asyncio.get_running_loop().time()
        if self._fault is None:
            self._fault = _Fault(cause, reason, now, refusals=0)
            log.error(
                "Customer.io refuses this sink; nothing is sent until that is mended, and nothing is lost",
                cause=cause,
                reason=reason,
                todo="set PIPELINE_CUSTOMERIO_SITE_ID and PIPELINE_CUSTOMERIO_API_KEY to the workspace's Track API "
                "credentials, PIPELINE_CUSTOMERIO_REGION to its region, and restart",
            )
        elif not given.asks:
            return  # was in flight when another lane met the same fault
        fault = self._fault
        fault.asking = False
        fault.refusals += 1
        seconds = recheck(fault.refusals)
        self._until = max(self._until, now + seconds)
        self._emit(LanesHeld(fault.cause, reason, seconds))

    def answered(self, given: Pass) -> None:
        """An answer came that is no refusal of the credentials."""
        if self._fault is None or not given.asks:
            return
        held_s = asyncio.get_running_loop().time() - self._fault.since
        log.info("Customer.io takes the credentials again", cause=self._fault.cause, held_s=round(held_s, 1))
        self._emit(LanesReleased(self._fault.cause, held_s))
        self._fault = None
        self._wake()

    def left(self, given: Pass) -> None:
        """No answer came, or the request was not sent: nothing is known about the credentials."""
        if self._fault is not None and given.asks:
            self._fault.asking = False
            self._wake()

    def _wake(self) -> None:
        for nap in list(self._naps):
            wake(nap)
