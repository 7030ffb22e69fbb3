"""The header `traceparent`: what is valid is read as it was written, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.telemetry.traceparent import parse, sampled_parent, trace_id_of, written

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

ids = st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))


@given(ids)
def test_what_was_written_is_read(told: tuple[int, int, int]) -> None:
    """Every id and every flag, and OpenTelemetry's own reader reads the same."""
    header = written(*told)
    parent = parse(header)
    assert parent is not None
    assert tuple(parent) == told
    context = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header})).get_span_context()
    assert (context.trace_id, context.span_id, context.trace_flags) == told
    assert parent.is_sampled is context.trace_flags.sampled


@given(st.text(alphabet="0123456789abcdef-fgF ", max_size=60) | st.text(max_size=60))
def test_anything_else_is_nothing(text: str) -> None:
    """No text raises, and what is read is a trace that somebody may keep."""
    parent = parse(text)
    assert parent is None or (parent.trace_id and parent.span_id and parse(written(*parent)) == parent)


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ([], None),
        ([("Traceparent", TRACE.encode())], "0af7651916cd43dd8448eb211c80319c"),
        ([("traceparent", TRACE[:-1].encode() + b"0")], None),
        ([("traceparent", b"\xff\xfe")], None),
        ([("traceparent", None)], None),
    ],
    ids=["none", "kept", "not-kept", "no-text", "null"],
)
def test_a_log_line_names_a_trace_that_is_kept(headers: list[tuple[str, bytes | None]], trace: str | None) -> None:
    """And no other: there would be nothing to look up."""
    assert trace_id_of(headers) == trace
    assert (sampled_parent(headers) is None) is (trace is None)
