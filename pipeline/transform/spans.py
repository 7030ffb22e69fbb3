"""The transform's spans of a trace: the processing of a webhook, and the sending of its operations.

Imported only where traces are on.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from pipeline.kafka.records import WEBHOOK_ID, Record, text_header
from pipeline.telemetry.harmless import harmless
from pipeline.telemetry.traceparent import Parent, sampled_parent
from pipeline.telemetry.traces import Attributes, Traces, processing, sending, traceparent_of
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import DeadLettered, Dropped, Operations

OUTCOMES: Final = {Operations: "operations", Dropped: "dropped", DeadLettered: "dead_letter"}


class RecordSpans:
    """Makes the spans of webhooks whose trace is kept."""

    def __init__(self, traces: Traces, group: str, operations_topic: str) -> None:
        self._traces = traces
        self._group = group
        self._operations_topic = operations_topic

    @harmless
    def begin(self, record: Record) -> RecordSpan | None:
        """The spans of a record; None where nobody keeps its trace."""
        parent = sampled_parent(record.headers)
        return (
            None if parent is None else RecordSpan(self._traces, self._process(record, parent), self._operations_topic)
        )

    def _process(self, record: Record, parent: Parent) -> Span:
        told: Attributes = {
            **processing(record, self._group),
            "messaging.message.id": text_header(record.headers, WEBHOOK_ID) or "",
        }
        return self._traces.span(f"process {record.topic}", SpanKind.CONSUMER, parent, told)


class RecordSpan:
    """The spans of one webhook in the transform."""

    __slots__ = ("_process", "_send", "_topic", "_traces")

    def __init__(self, traces: Traces, process: Span, topic: str) -> None:
        self._traces = traces
        self._process = process
        self._topic = topic
        self._send: Span | None = None

    @harmless
    def sends(self, operations: int) -> bytes | None:
        """So many operations leave; returns the `traceparent` that goes with each of them."""
        told = {**sending(self._topic), "messaging.batch.message_count": operations}
        self._send = send = self._traces.span(f"send {self._topic}", SpanKind.PRODUCER, self._process, told)
        traceparent = traceparent_of(send)
        return None if traceparent is None else traceparent.encode()

    @harmless
    def decided(self, decision: Decision) -> None:
        """What it became."""
        verdict, process = decision.verdict, self._process
        process.set_attribute("dodo.type", decision.type or "")
        process.set_attribute("dodo_cio.outcome", OUTCOMES.get(type(verdict), "sent_on"))
        if isinstance(verdict, Dropped):
            process.set_attribute("dodo_cio.reason", verdict.reason)
        elif isinstance(verdict, DeadLettered):
            process.set_attribute("error.type", verdict.class_)
            process.set_status(Status(StatusCode.ERROR))

    @harmless
    def durable(self) -> None:
        """Everything that it caused is stored."""
        if self._send is not None:
            self._send.end()
        self._process.end()
