"""The way of a span out of the process: a bounded queue, a thread of the SDK's, and the count of what is lost.

Nothing here waits. A span for which there is no room is dropped and counted; a collector that is away costs the thread
its time-outs and nobody else anything.
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
    """Hands ended spans to the SDK's batches as long as there is room; used by one thread."""

    def __init__(self, batches: SpanProcessor, counts: SpanCounts, most: int = MOST_WAITING) -> None:
        self._batches = batches
        self._counts = counts
        self._most = most

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is known yet."""

    def on_end(self, span: ReadableSpan) -> None:
        """Let it wait for the exporter."""
        if self._counts.waiting >= self._most:
            self._counts.dropped += 1
            return
        self._counts.admitted += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export what waits, and end."""
        self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self._batches.force_flush(timeout_millis)


class Counted(SpanExporter):
    """Counts what another exporter is handed, and says in the log when a collector goes and comes."""

    def __init__(self, exporter: SpanExporter, counts: SpanCounts) -> None:
        self._exporter = exporter
        self._counts = counts
        self._incident = Incident(
            log, "traces cannot be exported, which the flow does not need", "traces are exported again"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Never raises."""
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
        """Export no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)
