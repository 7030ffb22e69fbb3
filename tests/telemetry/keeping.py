"""Spans kept in memory, made by the real SDK."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipeline.settings import Settings, Stage
from pipeline.telemetry.traces import Traces

KEPT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_KEPT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C


class Keeping(SpanExporter):
    """An exporter and its spans."""

    def __init__(self, stage: Stage, ratio: float = 0.0) -> None:
        self._spans: list[ReadableSpan] = []
        settings = Settings.load(otlp_endpoint="http://127.0.0.1:9", trace_ratio=ratio)
        self.traces = Traces(settings, stage, self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them."""
        self._spans += spans
        return SpanExportResult.SUCCESS

    async def spans(self) -> dict[str, list[ReadableSpan]]:
        """All that ended, by name; no more are made."""
        await self.traces.stop()
        found: dict[str, list[ReadableSpan]] = {}
        for span in self._spans:
            found.setdefault(span.name, []).append(span)
        return found
