"""Finds out whether this machine's clock agrees with the brokers', from the times that they give to records.

A topic with LogAppendTime has the leader's time on every record. For some records it is known between which two moments
of our own clock they were appended: for a batch that we sent, between its sending and its confirmation; for a record
that we read, between our last request for the log's end (if it is at or after that) and its arrival. If the leader's
time is outside of these moments, a clock is wrong, by at least the distance; if it is between them, the clocks agree as
far as that can show. If the process was frozen meanwhile, the moments are only further apart.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pipeline import logs
from pipeline.kafka.events import BatchProduced, ChunkDelivered, RebalanceEnded
from pipeline.kafka.worker.log_bounds import LogBounds
from pipeline.watch.metrics import Metrics

if TYPE_CHECKING:  # ingest has a clock, and is no Faust app
    from faust.types import TP

TOLERANCE_S: Final = 30.0
"""More than clocks with NTP ever differ; far less than the hour after which brokers refuse a record's own time."""

SAMPLES: Final = 5
ENOUGH: Final = 3
"""Of the last `SAMPLES`, `ENOUGH` at least, the smallest difference counts: one odd sample must cause no alarm."""

log = logs.get(__name__)


def apart_ms(dated_ms: float, after_ms: float, before_ms: float) -> float:
    """How far our clock is ahead (negative: behind), at least; the record was appended between the two moments."""
    if dated_ms < after_ms:
        return after_ms - dated_ms
    return min(before_ms - dated_ms, 0.0)


class Clock:
    """An observer of produced and delivered batches that compares the clocks.

    `now_ms` is this machine's clock, unix milliseconds.
    """

    def __init__(self, metrics: Metrics, now_ms: Callable[[], float] = lambda: time.time() * 1000) -> None:
        self._now_ms = now_ms
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._ends: dict[tuple[str, int], LogBounds] = {}
        self._told = False
        metrics.gauge(
            "clock_ahead_seconds", "How far this machine's clock is ahead of the brokers' (below 0: behind)."
        ).set_function(lambda: math.nan if self.ahead_s is None else self.ahead_s)

    def __call__(self, event: object) -> None:
        """Handle one event."""
        match event:
            case BatchProduced(appended_at_ms=float() | int() as dated_ms):
                self.confirmed(dated_ms, event.took_s)
            case ChunkDelivered(appended_at_ms=float() | int() as dated_ms):
                self._delivered((event.topic, event.partition), event.last_offset, dated_ms)
            case RebalanceEnded():
                self._ends.clear()

    def confirmed(self, dated_ms: float, took_s: float) -> None:
        """Add the sample of a batch that the brokers dated, and whose confirmation took so long."""
        now_ms = self._now_ms()
        self._sample(apart_ms(dated_ms, now_ms - took_s * 1000, now_ms))

    def saw(self, bounds: Mapping[TP, LogBounds]) -> None:
        """Note where the logs ended: records after that were appended later."""
        self._ends.update({(tp.topic, tp.partition): one for tp, one in bounds.items()})

    def _delivered(self, tp: tuple[str, int], last_offset: int, dated_ms: float) -> None:
        now_ms = self._now_ms()
        known = self._ends.get(tp)
        if known is not None and last_offset >= known.end:
            del self._ends[tp]  # one sample for each look
            self._sample(apart_ms(dated_ms, known.asked_at_ms, now_ms))
        elif dated_ms > now_ms:
            self._sample(now_ms - dated_ms)

    @property
    def ahead_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead (below 0: behind), None while that is unknown."""
        if len(self._samples) < ENOUGH:
            return None
        return min(self._samples, key=abs) / 1000

    @property
    def text(self) -> str | None:
        """The text for `/ready`, None while the clocks agree."""
        ahead_s = self.ahead_s
        if ahead_s is None or abs(ahead_s) < TOLERANCE_S:
            return None
        side = "ahead of" if ahead_s > 0 else "behind"
        return f"this machine's clock is {abs(ahead_s):.0f} s {side} the brokers': set it right (NTP)"

    def _sample(self, ahead_ms: float) -> None:
        self._samples.append(ahead_ms)
        text = self.text
        if text is not None and not self._told:
            log.warning("This machine's clock and the brokers' disagree", ahead_seconds=round(self.ahead_s or 0.0, 1))
        elif text is None and self._told:
            log.info("This machine's clock and the brokers' agree again")
        self._told = text is not None
