"""Makes the spans of one process with OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from pipeline import __version__, logs
from pipeline.kafka.records import Record
from pipeline.settings import Settings, Stage
from pipeline.telemetry.counts import SpanCounts
from pipeline.telemetry.export import MOST_WAITING, Bounded, Counted
from pipeline.telemetry.traceparent import Parent, written

log = logs.get(__name__)

STOP_WITHIN_S: Final = 1.0
"""For queued spans at the end of the process; a collector that answers needs milliseconds. The rest is dropped, since a
stage's grace (`PIPELINE_DRAIN_SECONDS` and 12 s) is for webhooks."""

EVERY_MS: Final = 1000
BATCH: Final = 512
TO: Final = "/v1/traces"
"""Appended to the endpoint, as the SDK does with OTEL_EXPORTER_OTLP_ENDPOINT (OTLP exporter specification)."""

Attributes = Mapping[str, str | int | float | bool]

KAFKA: Final = {"messaging.system": "kafka"}
"""OpenTelemetry's semantic conventions for messaging."""


def sending(topic: str) -> Attributes:
    """The attributes of a span for sending records to a topic."""
    return KAFKA | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }


def processing(record: Record, group: str) -> Attributes:
    """The attributes of a span for the processing of one record by a consumer group."""
    return KAFKA | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": group,
    }


class Traces:
    """Makes the spans of a stage. Belongs to one event loop.

    The caller of `span` decides that the trace is sampled: for its first span by the ratio (`is_chosen`), for all
    others because their parent is. So a webhook whose trace is not sampled costs one random number at ingest, and the
    search for a header in the later stages.

    Args:
        settings: with `otlp_endpoint` set.
        stage: of this process.
        exporter: replaces the one to the endpoint.
    """

    def __init__(self, settings: Settings, stage: Stage, exporter: SpanExporter | None = None) -> None:
        endpoint = (settings.otlp_endpoint or "").rstrip("/")
        self.stage = stage
        self.counts = SpanCounts()
        self._ratio = settings.trace_ratio
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # each failed attempt has a line; ours has all
        self._provider = TracerProvider(resource=resource_of(stage), sampler=ALWAYS_ON, shutdown_on_exit=False)
        counted = Counted(exporter or OTLPSpanExporter(endpoint=f"{endpoint}{TO}"), self.counts)
        batches = BatchSpanProcessor(
            counted, max_queue_size=MOST_WAITING, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH
        )
        self._provider.add_span_processor(Bounded(batches, self.counts))
        self._tracer = self._provider.get_tracer("dodo-customerio", __version__)

    def is_chosen(self) -> bool:
        """Whether a trace that begins now is sampled, by chance."""
        return random.random() < self._ratio  # noqa: S311 - a sample, no secret

    def span(
        self,
        name: str,
        kind: SpanKind,
        parent: Parent | Span | None,
        attributes: Attributes | None = None,
        *,
        start_ns: int | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        """A span that has begun (at `start_ns`, unix, if given); the caller ends it."""
        return self._tracer.start_span(
            name, _context(parent), kind, attributes, links, start_time=start_ns, record_exception=False
        )

    async def start(self) -> None:
        """Do nothing: the exporter's thread runs already."""

    async def stop(self) -> None:
        """Export the queued spans; returns after `STOP_WITHIN_S` at the latest, even if the collector hangs."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            try:
                self._provider.shutdown()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=end, name="traces end", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await ended.wait()
        if self.counts.waiting:
            log.warning("the last traces are not exported, which the flow does not need", spans=self.counts.waiting)


def resource_of(stage: Stage) -> Resource:
    """The identity of this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override it, as is usual."""
    told = Resource.create()
    own = {SERVICE_NAME: f"dodo-customerio.{stage}", SERVICE_VERSION: __version__}
    named = {name: value for name, value in told.attributes.items() if not str(value).startswith("unknown_service")}
    return Resource({**told.attributes, **own, **named})


def traceparent_of(span: Span) -> str | None:
    """The header with which others continue this trace; None where the SDK is turned off (OTEL_SDK_DISABLED)."""
    context = span.get_span_context()
    return written(context.trace_id, context.span_id, context.trace_flags) if context.is_valid else None


def context_of(parent: Parent) -> SpanContext:
    """The parent in the SDK's form."""
    return SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))


def _context(parent: Parent | Span | None) -> Context:
    """The context with this parent; explicit, so that no current span of other code becomes the parent."""
    if parent is None:
        return Context()
    span = NonRecordingSpan(context_of(parent)) if isinstance(parent, Parent) else parent
    return set_span_in_context(span, Context())
