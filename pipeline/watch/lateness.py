"""The lag in seconds of a worker's own partitions: the age of the first record that is not committed.

An observer of the transport, which reports the times of each chunk's first and last record. The times between them are
interpolated, so within a chunk the age is an estimate, and exact at its ends. The times of records that are still at
the broker are unknown; they count from when they were first seen there, so the real age is then at least the shown one.
`dodo-cio lag` reads the record itself, for all partitions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from faust.types import TP

from pipeline.kafka.events import ChunkDelivered, LogRestarted, OffsetsCommitted, RebalanceEnded
from pipeline.kafka.records import END_MS, FIRST_MS


class _Span(NamedTuple):
    first_offset: int
    last_offset: int
    first_ms: int
    last_ms: int

    def at_ms(self, offset: int) -> int:
        """About when the record at `offset` was written."""
        if offset <= self.first_offset or self.last_offset == self.first_offset:
            return self.first_ms
        share = (offset - self.first_offset) / (self.last_offset - self.first_offset)
        return int(self.first_ms + (self.last_ms - self.first_ms) * share)


class Lateness:
    """Keeps four numbers of each chunk until its offsets are committed.

    `now_ms` is this machine's clock, unix milliseconds.
    """

    def __init__(self, now_ms: Callable[[], float] = lambda: time.time() * 1000) -> None:
        self._now_ms = now_ms
        self._spans: dict[TP, deque[_Span]] = {}
        self._committed: dict[TP, int] = {}
        self._unread_since_ms: dict[TP, float] = {}

    def __call__(self, event: object) -> None:
        """Handle one event of the transport."""
        match event:
            case ChunkDelivered():
                self._delivered(TP(event.topic, event.partition), event)
            case OffsetsCommitted():
                for tp, offset in event.offsets.items():
                    self._commit(tp, offset)
            case RebalanceEnded():
                self._spans.clear()
                self._committed.clear()
                self._unread_since_ms.clear()
            case LogRestarted():
                tp = TP(event.topic, event.partition)
                self._spans.pop(tp, None)
                self._committed.pop(tp, None)
                self._unread_since_ms.pop(tp, None)

    def unread(self, tp: TP, records: int) -> None:
        """Note how many records of the partition are at the broker, not yet read."""
        if records:
            self._unread_since_ms.setdefault(tp, self._now_ms())
        else:
            self._unread_since_ms.pop(tp, None)

    def seconds(self, tp: TP) -> float:
        """Age of the first record that is not committed, as far as is known; 0 when none waits."""
        spans = self._spans.get(tp)
        if spans:
            since_ms: float | None = spans[0].at_ms(self._committed.get(tp, spans[0].first_offset))
        else:
            since_ms = self._unread_since_ms.get(tp)
        return 0.0 if since_ms is None else max(self._now_ms() - since_ms, 0.0) / 1000

    def _delivered(self, tp: TP, event: ChunkDelivered) -> None:
        now_ms = int(self._now_ms())
        first_ms, last_ms = (
            at_ms if at_ms is not None and FIRST_MS <= at_ms < END_MS else now_ms
            for at_ms in (event.first_at_ms, event.last_at_ms)
        )
        self._spans.setdefault(tp, deque()).append(_Span(event.first_offset, event.last_offset, first_ms, last_ms))
        if event.end_offset is not None:
            # A record after a delivered one is younger than that, and older than now.
            self._unread_since_ms.pop(tp, None)
            self.unread(tp, max(event.end_offset - event.last_offset - 1, 0))

    def _commit(self, tp: TP, offset: int) -> None:
        spans = self._spans.get(tp)
        if spans is None:
            return
        self._committed[tp] = max(offset, self._committed.get(tp, 0))
        while spans and spans[0].last_offset < offset:
            spans.popleft()
