"""Spans of webhooks at the edge: of genuine ones alone, and what is stored names the one that stored it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from pipeline.dodo import samples
from pipeline.ingest.spans import WebhookSpans
from pipeline.ingest.store import NotStored
from tests.telemetry.keeping import KEPT, NOT_KEPT, TRACE_ID, Keeping

BODY = samples.load("payment.succeeded--krw")
REQUEST, SEND = "POST /webhooks/dodo", "send w"


def traced(edge: Any, ratio: float = 0.0) -> Keeping:
    """Traces are on."""
    keeping = Keeping("ingest", ratio)
    edge.endpoint.spans = WebhookSpans(keeping.traces, "/webhooks/dodo")
    return keeping


@pytest.mark.parametrize(
    ("given", "ratio", "kept"),
    [(None, 0.0, False), (None, 1.0, True), (KEPT, 0.0, True), (NOT_KEPT, 1.0, False), ("00-1", 1.0, True)],
    ids=["ratio-0", "ratio-1", "kept-by-the-caller", "not-kept-by-the-caller", "no-trace-at-all"],
)
async def test_who_decides(*, given: str | None, ratio: float, kept: bool, edge: Any, ask: Any, signed: Any) -> None:
    """A caller that names a trace decides for it; else the ratio does. What is not kept is passed on as it came."""
    keeping = traced(edge, ratio)
    headers = signed(BODY) if given is None else signed(BODY, traceparent=given)
    assert (await ask(edge.app, headers, BODY)).status == 200
    spans = await keeping.spans()
    assert set(spans) == ({REQUEST, SEND} if kept else set())
    stored = dict(edge.store.records[0][1].headers).get("traceparent")
    if not kept:
        assert stored == (None if given is None else given.encode())
        return
    ((request,), (send,)) = spans[REQUEST], spans[SEND]
    assert stored is not None
    assert stored == f"00-{send.context.trace_id:032x}-{send.context.span_id:016x}-".encode() + stored[-2:]
    assert send.parent is not None
    assert send.parent.span_id == request.context.span_id
    assert (request.context.trace_id == TRACE_ID) is (given == KEPT)


async def test_nobody_who_cannot_sign_makes_a_span(edge: Any, ask: Any, signed: Any) -> None:
    """Nor one whose body never came."""
    keeping = traced(edge, 1.0)
    assert (await ask(edge.app, signed(BODY, traceparent=KEPT), BODY + b" ")).status == 401
    assert await ask(edge.app, signed(BODY), b"{", None) is None
    assert await keeping.spans() == {}


async def test_what_kafka_does_not_take_is_an_error(edge: Any, ask: Any, signed: Any) -> None:
    """Both spans end with the request, and say so."""
    keeping = traced(edge, 1.0)
    edge.store.answer = NotStored("no confirmation")
    assert (await ask(edge.app, signed(BODY), BODY)).status == 503
    spans = await keeping.spans()
    assert {one.status.status_code for several in spans.values() for one in several} == {StatusCode.ERROR}
    assert (spans[REQUEST][0].attributes or {})["http.response.status_code"] == 503


async def test_attributes_tell_nothing_of_the_person(edge: Any, ask: Any, signed: Any) -> None:
    """The webhook's id, type, size and place alone: no text of the body is among them."""
    keeping = traced(edge, 1.0)
    await ask(edge.app, signed(BODY, webhook_id="msg_told"), BODY)
    spans = await keeping.spans()
    told = {
        name: value for several in spans.values() for one in several for name, value in (one.attributes or {}).items()
    }
    assert (told["messaging.message.id"], told["dodo.type"]) == ("msg_told", "payment.succeeded")
    body = json.loads(BODY)["data"]
    values = {str(value) for value in told.values()}
    assert values.isdisjoint({*(str(one) for one in body.values()), *(str(one) for one in body["customer"].values())})


async def test_a_bug_in_spans_changes_no_answer(
    edge: Any, ask: Any, signed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: the webhook is stored once and answered 200."""
    keeping = traced(edge, 1.0)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(keeping.traces, "span", broken)
    assert (await ask(edge.app, signed(BODY), BODY)).status == 200
    assert len(edge.store.records) == 1
