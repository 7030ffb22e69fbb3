"""Spans leave the process by the real SDK, or are counted; nothing waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from pipeline.settings import Settings
from pipeline.telemetry.counts import SpanCounts
from pipeline.telemetry.export import Bounded, Counted
from pipeline.telemetry.harmless import harmless
from pipeline.telemetry.traceparent import parse
from pipeline.telemetry.traces import Traces, resource_of, traceparent_of
from tests.telemetry.collector import collecting

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traces_to(url: str, exporter: SpanExporter | None = None, **settings: float) -> Traces:
    """Spans of a sink."""
    return Traces(Settings.load(otlp_endpoint=url, **settings), "sink", exporter)


async def test_a_span_arrives_under_its_service_and_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the endpoint's path, when the process ends at the latest; it is counted."""
    monkeypatch.setattr("pipeline.telemetry.traces.STOP_WITHIN_S", 300.0)
    with collecting() as collector:
        traces = traces_to(collector.url + "/")
        parent = traces.span("parent", SpanKind.SERVER, parse(TRACE), {"dodo.type": "payment.succeeded"})
        child = traces.span("child", SpanKind.PRODUCER, parent)
        child.end()
        parent.end()
        await traces.stop()
        assert collector.paths == {"/v1/traces"}
        by_name = {one.span.name: one for one in collector.spans}
        assert {one.service for one in collector.spans} == {"dodo-customerio.sink"}
        assert {one.trace for one in collector.spans} == {"0af7651916cd43dd8448eb211c80319c"}
        assert by_name["parent"].span.parent_span_id.hex() == "b7ad6b7169203331"
        assert by_name["child"].span.parent_span_id == by_name["parent"].span.span_id
        assert by_name["parent"].attributes == {"dodo.type": "payment.succeeded"}
    assert (traces.counts.exported, traces.counts.failed, traces.counts.waiting) == (2, 0, 0)


def test_what_the_operator_names_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's own variables are obeyed; without them the service has our name."""
    assert resource_of("ingest").attributes["service.name"] == "dodo-customerio.ingest"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-webhooks")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    named = resource_of("ingest").attributes
    assert (named["service.name"], named["deployment.environment.name"]) == ("shop-webhooks", "staging")


async def test_turned_off_by_the_sdk_s_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED: spans lead nowhere, and no header names them."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traces = traces_to("http://127.0.0.1:9")
    assert traceparent_of(traces.span("a", SpanKind.SERVER, None)) is None
    await traces.stop()


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
async def test_the_ratio_decides_what_is_kept(ratio: float) -> None:
    """Of many that begin here, so many; none at 0, all at 1."""
    traces = traces_to("http://127.0.0.1:9", Stuck(), trace_ratio=ratio)
    kept = sum(traces.is_chosen() for _ in range(10_000)) / 10_000
    assert abs(kept - ratio) < (0.05 if 0 < ratio < 1 else 1e-9)


class Stuck(SpanExporter):
    """A collector that never answers."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.free = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface's
        """Hang."""
        self.called.set()
        self.free.wait()
        return SpanExportResult.FAILURE


async def test_a_collector_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is dropped and counted, and the process ends without it."""
    monkeypatch.setattr("pipeline.telemetry.traces.STOP_WITHIN_S", 0.05)
    stuck = Stuck()
    traces = traces_to("http://127.0.0.1:9", stuck)
    for _ in range(10_000):
        traces.span("one", SpanKind.SERVER, None).end()
    assert (traces.counts.admitted, traces.counts.dropped) == (8192, 10_000 - 8192)
    await asyncio.to_thread(stuck.called.wait)
    await traces.stop()  # the suite's own limit of time is the assertion
    assert traces.counts.exported == 0
    stuck.free.set()


class Answers(SpanExporter):
    """A collector that does what it is told."""

    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface's
        """The next one."""
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_what_the_collector_does_not_take_is_counted_and_told_once() -> None:
    """An error as well as a refusal; its end is told too."""
    counts = SpanCounts()
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = Counted(Answers(bad, bad, ConnectionError("no route"), good), counts)
    spans = [ReadableSpan("one"), ReadableSpan("two")]
    with capture_logs() as lines:
        for _ in range(4):
            exporter.export(spans)
    assert (counts.failed, counts.exported) == (6, 2)
    assert [line["log_level"] for line in lines] == ["warning", "warning", "info"]
    assert lines[-1]["failed_attempts"] == 3


class Kept(SpanProcessor):
    """Spans that got through."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.spans.append(span)


def test_there_is_room_again_once_spans_have_left() -> None:
    """The bound is of what waits, not of what ever came."""
    counts, kept = SpanCounts(), Kept()
    bounded = Bounded(kept, counts, most=2)
    for _ in range(3):
        bounded.on_end(ReadableSpan("one"))
    counts.failed += 1
    bounded.on_end(ReadableSpan("one"))
    assert (len(kept.spans), counts.dropped, counts.waiting) == (3, 1, 2)


def test_an_error_in_a_span_reaches_nobody() -> None:
    """It is a log line, at the 1st, 2nd, 4th … time, and the caller gets None."""

    @harmless
    def broken(_: int) -> int:
        raise RuntimeError("a bug")

    with capture_logs() as lines:
        assert [broken(number) for number in range(8)] == [None] * 8
    assert [line["failures"] for line in lines] == [1, 2, 4, 8]
