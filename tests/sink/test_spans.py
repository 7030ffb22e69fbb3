"""Spans of requests and operations: linked both ways, made only for traces that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs

from pipeline.sink.spans import MOST_LINKS, REQUEST, OperationSpans
from tests.telemetry.keeping import KEPT, NOT_KEPT, TRACE_ID, Keeping

PROCESS = "process customerio.operations"


@pytest.fixture
def keeping(rig: Any) -> Keeping:
    """Traces are on."""
    kept = Keeping("sink")
    rig.observers.append(OperationSpans(kept.traces, "dodo-customerio.sink"))
    return kept


def traced(record: Any, traceparent: str = KEPT) -> Any:
    """The record, with its trace."""
    return replace(record, headers=(*record.headers, ("traceparent", traceparent.encode())))


def spans_of(keeping: Keeping) -> dict[str, list[ReadableSpan]]:
    """All that ended."""
    return asyncio.run(keeping.spans())


def test_a_request_is_linked_to_its_operations(
    virtual: Callable[[Any], Any], rig: Any, make: Any, keeping: Keeping
) -> None:
    """One span a request, a trace of its own; one span an operation whose trace is kept, in that trace."""
    records = [traced(make.record("ann", 0)), traced(make.record("bob", 1), NOT_KEPT), make.record("cat", 2)]

    async def scenario() -> None:
        async with rig:
            await rig.take(*records)
            await rig.settled()

    virtual(scenario())
    spans = spans_of(keeping)
    (request,), (operation,) = spans[REQUEST], spans[PROCESS]
    assert [link.context.trace_id for link in request.links] == [TRACE_ID]
    assert request.context.trace_id != TRACE_ID
    assert request.parent is None
    assert operation.context.trace_id == TRACE_ID
    assert [link.context.span_id for link in operation.links] == [request.context.span_id]
    assert request.attributes is not None
    assert request.attributes["messaging.batch.message_count"] == 3
    assert "ann" not in str(request.attributes) + str(operation.attributes)


def test_what_nobody_keeps_leaves_nothing(virtual: Callable[[Any], Any], rig: Any, make: Any, keeping: Keeping) -> None:
    """Not even a span of the request."""

    async def scenario() -> None:
        async with rig:
            await rig.take(make.record("ann", 0), traced(make.record("bob", 1), NOT_KEPT))
            await rig.settled()

    virtual(scenario())
    assert spans_of(keeping) == {}


def test_a_refusal_and_an_outage_are_errors(
    virtual: Callable[[Any], Any], rig: Any, make: Any, keeping: Keeping
) -> None:
    """Each attempt is a span; the operation that is given up ends with its class, and its log line names the trace."""
    rig.api.script = [rig.api.status(503), rig.api.refuse(0)]

    async def scenario() -> None:
        async with rig:
            await rig.take(traced(make.record("ann", 0)))
            await rig.settled()

    with capture_logs() as lines:
        virtual(scenario())
    spans = spans_of(keeping)
    told = [dict(one.attributes or {}) for one in spans[REQUEST]]
    assert [one["dodo_cio.outcome"] for one in told] == ["retry", "partly-refused"]
    assert [one["http.request.resend_count"] for one in told] == [0, 1]
    (operation,) = spans[PROCESS]
    assert operation.status.status_code is StatusCode.ERROR
    assert (operation.attributes or {})["error.type"] == "refused"
    assert [line["trace_id"] for line in lines if line["event"] == "dead letter"] == [f"{TRACE_ID:032x}"]


def test_links_are_bounded(virtual: Callable[[Any], Any], rig: Any, make: Any, keeping: Keeping) -> None:
    """A batch of more operations has the first of them as links; each operation has its own span all the same."""
    records = [traced(make.record(f"p{number}", number)) for number in range(MOST_LINKS + 20)]

    async def scenario() -> None:
        async with rig:
            await rig.take(*records)
            await rig.settled()

    virtual(scenario())
    spans = spans_of(keeping)
    assert max(len(one.links) for one in spans[REQUEST]) == MOST_LINKS
    assert len(spans[PROCESS]) == len(records)
