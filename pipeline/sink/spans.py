"""The last spans of traces: Customer.io's answers. One span a request, with links to its operations' traces.

A batch has operations of many traces, so its request belongs to none of them: it is a trace of its own, linked to each,
and each operation's span is linked to it (OpenTelemetry's semantic conventions for messaging, batches). An observer of
the sink's events. Imported only where traces are on.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from pipeline.kafka.records import DODO_TYPE, OP_ID, WEBHOOK_ID, Record, text_header
from pipeline.sink.events import OperationsAccepted, RecordDeadLettered, RequestEnded
from pipeline.telemetry.traceparent import Parent, sampled_parent
from pipeline.telemetry.traces import Attributes, Traces, context_of, processing

MOST_LINKS: Final = 128
"""The SDK's own bound (OTEL_SPAN_LINK_COUNT_LIMIT); a batch may have more than a thousand operations."""

REQUEST: Final = "POST /api/v2/batch"


class _Request(NamedTuple):
    """The last request of a lane: its span, when it began, and the traces of its operations by their records' id."""

    context: SpanContext
    start_ns: int
    parents: dict[int, Parent]


class OperationSpans:
    """Makes the spans of requests, and of operations whose trace is kept; `group` is the sink's."""

    def __init__(self, traces: Traces, group: str) -> None:
        self._traces = traces
        self._group = group
        self._last: dict[int, _Request] = {}

    def __call__(self, event: object) -> None:
        """See what happened."""
        match event:
            case RequestEnded():
                self._request(event)
            case OperationsAccepted():
                self._accepted(event)
            case RecordDeadLettered():
                self._dead_lettered(event)

    def _request(self, event: RequestEnded) -> None:
        parents = {
            id(item.record): parent
            for item in event.items
            if (parent := sampled_parent(item.record.headers)) is not None
        }
        if not parents:
            self._last.pop(event.lane, None)
            return
        start_ns = time.time_ns() - int(event.took_s * 1e9)
        told: dict[str, str | int] = {
            "http.request.method": "POST",
            "http.request.resend_count": event.attempt - 1,
            "http.request.body.size": event.body_bytes,
            "messaging.batch.message_count": event.operations,
            "dodo_cio.outcome": event.outcome,
        }
        if event.status is not None:
            told["http.response.status_code"] = event.status
        links = [Link(context_of(parent)) for parent in list(parents.values())[:MOST_LINKS]]
        span = self._traces.span(REQUEST, SpanKind.CLIENT, None, told, start_ns=start_ns, links=links)
        if event.outcome not in {"accepted", "partly-refused"}:
            _failed(span, event.outcome)
        span.end()
        self._last[event.lane] = _Request(span.get_span_context(), start_ns, parents)

    def _accepted(self, event: OperationsAccepted) -> None:
        request = self._last.pop(event.lane, None)
        if request is None:
            return
        links = [Link(request.context)]
        for record in event.records:
            parent = request.parents.get(id(record))
            if parent is not None:
                self._process(record, parent, request.start_ns, links).end()

    def _dead_lettered(self, event: RecordDeadLettered) -> None:
        parent = None if event.record is None else sampled_parent(event.record.headers)
        if event.record is None or parent is None:
            return
        span = self._process(event.record, parent, None, [])
        _failed(span, event.class_)
        span.end()

    def _process(self, record: Record, parent: Parent, start_ns: int | None, links: list[Link]) -> Span:
        told: Attributes = {
            **processing(record, self._group),
            "messaging.message.id": text_header(record.headers, OP_ID) or "",
            "dodo.webhook_id": text_header(record.headers, WEBHOOK_ID) or "",
            "dodo.type": text_header(record.headers, DODO_TYPE) or "",
        }
        return self._traces.span(
            f"process {record.topic}", SpanKind.CONSUMER, parent, told, start_ns=start_ns, links=links
        )


def _failed(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR))
