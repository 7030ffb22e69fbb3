"""What a genuine request becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.signature import MAX_ID_CHARS
from pipeline.ingest.records import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, AcceptedWebhook, Unreadable, decide

BODY = samples.load("payment.succeeded")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _decide(
    body: bytes = BODY, traceparent: str | None = None, webhook_id: str = "msg_1"
) -> AcceptedWebhook | Unreadable:
    return decide(
        body,
        webhook_id=webhook_id,
        webhook_timestamp="1790000000",
        mode="live",
        received_at_ms=1790000000123,
        traceparent=traceparent,
    )


def test_a_webhook_is_kept_whole() -> None:
    """The body is the value byte for byte, the customer the key, and the headers are the contract's."""
    decision = _decide(traceparent=TRACE)
    assert isinstance(decision, AcceptedWebhook)
    assert decision.type == "payment.succeeded"
    assert decision.record.value is BODY
    assert decision.record.key == b"cus_0NExampleCustomer0001"
    assert decision.record.headers == (
        ("webhook-id", b"msg_1"),
        ("webhook-timestamp", b"1790000000"),
        ("dodo-type", b"payment.succeeded"),
        ("dodo-mode", b"live"),
        ("received-at", b"1790000000123"),
        ("traceparent", TRACE.encode()),
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"type":"payment.succeeded"}'])
def test_what_is_no_webhook_becomes_a_dead_letter(body: bytes) -> None:
    """A genuine request that cannot be read is kept byte for byte, keyed by its id, with the reason."""
    decision = _decide(body)
    assert isinstance(decision, Unreadable)
    headers = dict(decision.record.headers)
    assert decision.record.value == body
    assert decision.record.key == b"msg_1"
    assert headers["webhook-id"] == b"msg_1"
    assert headers["dodo-mode"] == b"live"
    assert headers["dlq-stage"] == b"ingest"
    assert headers["dlq-class"] == b"unreadable"
    assert headers["dlq-source"] == b"http"
    assert headers["dlq-reason"]
    assert "dodo-type" not in headers


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        (TRACE, True),
        (TRACE.replace("00-4b", "cc-4b", 1), True),
        (TRACE.replace("00-4b", "cc-4b", 1) + "-more.of-it", True),
        (TRACE + "-more", False),
        (TRACE.replace("00-4b", "ff-4b", 1), False),
        (TRACE.upper(), False),
        (TRACE[:-1], False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", False),
        ("cc" + TRACE[2:] + "-" + "x" * 500, False),
        (f"{TRACE}\n", False),
        ("é" * 55, False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_valid_trace_is_passed_on(traceparent: str | None, kept: bool) -> None:
    """A trace context of the W3C form goes with the record, anything else is left out."""
    assert ("traceparent" in dict(_decide(traceparent=traceparent).record.headers)) is kept


@given(
    type_=st.text(min_size=1, max_size=2000),
    key=st.text(max_size=400),
    webhook_id=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=MAX_ID_CHARS),
    trace=st.sampled_from([None, "cc" + TRACE[2:] + "-" + "x" * 450]),
)
def test_headers_never_outgrow_their_room(type_: str, key: str, webhook_id: str, trace: str | None) -> None:
    """Whatever a signed body says, key and headers stay within what the size check set aside."""
    import json

    wire = {"type": type_, "data": {"customer_id": key}}
    for body in (json.dumps(wire).encode(), b"{" * 1000):
        record = _decide(body, trace, webhook_id).record
        added = len(record.key or b"") + sum(len(name) + len(value) + 4 for name, value in record.headers)
        assert added + 200 <= MAX_ENVELOPE_BYTES  # 200: Kafka's framing of a batch with one record
    assert MAX_BODY_BYTES + MAX_ENVELOPE_BYTES < 1_048_588


def test_a_long_type_is_cut_between_characters() -> None:
    """The header of a type of thousands of bytes is valid UTF-8; the record's type stays whole."""
    decision = _decide(('{"type":"' + "한" * 3000 + '","data":{}}').encode())
    assert isinstance(decision, AcceptedWebhook)
    assert dict(decision.record.headers)["dodo-type"].decode() == "한" * 85
    assert decision.type == "한" * 3000
