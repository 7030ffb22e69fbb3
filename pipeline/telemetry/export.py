"""Exports spans: a bounded queue, a thread of the SDK's, and counts of what is lost.

A stage never waits here. A span for which there is no room is dropped and counted; only the SDK's thread waits for a
collector that does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipeline import logs
from pipeline.errors import DeliveryError
from pipeline.incidents import Incident
from pipeline.telemetry.counts import SpanCounts

MOST_WAITING: Final = 8192
"""Spans in memory, about 2 kB each: a second of 1,000 webhooks a second with all of them sampled."""

log = logs.get(__name__)


class Bounded(SpanProcessor):
    """Passes ended spans to the SDK's batches while there is room; used by one thread."""

    def __init__(self, batches: SpanProcessor, counts: SpanCounts, most: int = MOST_WAITING) -> None:
        self._batches = batches
        self._counts = counts
        self._most = most

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span is exported when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span for the exporter, or drop it."""
        if self._counts.waiting >= self._most:
            self._counts.dropped += 1
            return
        self._counts.admitted += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export the queued spans, and end."""
        self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export the queued spans."""
        return self._batches.force_flush(timeout_millis)


class Counted(SpanExporter):
    """Counts the spans that another exporter gets, and logs when the collector fails and when it works again."""

    def __init__(self, exporter: SpanExporter, counts: SpanCounts) -> None:
        self._exporter = exporter
        self._counts = counts
        self._incident = Incident(
            log, "traces cannot be exported, which the flow does not need", "traces are exported again"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans, and count them by the result; never raises."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it was, the thread must go on
            self._counts.failed += len(spans)
            self._incident.failed(error)
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._counts.exported += len(spans)
            self._incident.succeeded()
        else:
            self._counts.failed += len(spans)
            self._incident.failed(DeliveryError("the collector did not take them"))
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: no span is queued here."""
        return self._exporter.force_flush(timeout_millis)
