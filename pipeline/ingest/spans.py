"""The first spans of a trace: the request of a webhook, and its way into Kafka.

Imported only where traces are on.
"""

from __future__ import annotations

import time
from typing import Final

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from pipeline.ingest.events import RequestEnded
from pipeline.ingest.records import AcceptedWebhook, Unreadable
from pipeline.kafka.records import DODO_MODE, DODO_TYPE, WEBHOOK_ID, text_header
from pipeline.telemetry.harmless import harmless
from pipeline.telemetry.traceparent import parse
from pipeline.telemetry.traces import Traces, sending, traceparent_of

SERVER_FAULT: Final = 500


class WebhookSpans:
    """Makes the spans of genuine webhooks; `route` is where they are posted.

    A forged request has none: whoever cannot sign makes no traces.
    """

    def __init__(self, traces: Traces, route: str) -> None:
        self._traces = traces
        self._route = route

    @harmless
    def begin(self, traceparent: str | None, began_s: float) -> WebhookSpan | None:
        """The spans of a request whose head came at `began_s` (monotonic seconds), if its trace is kept.

        A caller that names a trace has decided that; without one the ratio does.
        """
        parent = parse(traceparent) if traceparent is not None else None
        if not (self._traces.is_chosen() if parent is None else parent.is_sampled):
            return None
        start_ns = time.time_ns() - int((time.monotonic() - began_s) * 1e9)
        attributes = {"http.request.method": "POST", "http.route": self._route}
        request = self._traces.span(f"POST {self._route}", SpanKind.SERVER, parent, attributes, start_ns=start_ns)
        return WebhookSpan(request, self._traces.span("send", SpanKind.PRODUCER, request))


class WebhookSpan:
    """The spans of one webhook."""

    __slots__ = ("_request", "_send", "traceparent")

    def __init__(self, request: Span, send: Span) -> None:
        self._request = request
        self._send = send
        self.traceparent = traceparent_of(send)

    @harmless
    def decided(self, decision: AcceptedWebhook | Unreadable, topic: str) -> None:
        """What is stored, and where."""
        record = decision.record
        self._send.update_name(f"send {topic}")
        told = {
            **sending(topic),
            "messaging.message.id": text_header(record.headers, WEBHOOK_ID),
            "messaging.message.body.size": len(record.value or b""),
            "dodo.type": text_header(record.headers, DODO_TYPE),
            "dodo.mode": text_header(record.headers, DODO_MODE),
        }
        self._send.set_attributes({name: value for name, value in told.items() if value is not None})

    @harmless
    def ended(self, event: RequestEnded) -> None:
        """It was answered."""
        request, send = self._request, self._send
        request.set_attribute("http.response.status_code", event.status)
        request.set_attribute("dodo_cio.outcome", event.outcome)
        if event.status >= SERVER_FAULT:
            for span in (send, request):
                span.set_attribute("error.type", event.outcome)
                span.set_status(Status(StatusCode.ERROR))
        send.end()
        request.end()
