"""Reading a webhook body."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.envelope import kafka_key, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError

BODY = (
    b'{"business_id":"bus_1","type":"payment.succeeded","timestamp":"2026-10-14T08:21:45Z","data":{"payment_id":"p"}}'
)


def _body_of(**data: Any) -> bytes:
    wire = {"business_id": "bus_1", "type": "x.y", "timestamp": "2026-10-14T08:21:45Z", "data": data}
    return json.dumps(wire).encode()  # the standard library writes integers of any length


def test_the_wire_form_is_read() -> None:
    """Each field lands under its wire name, as sent."""
    envelope = parse(BODY)
    assert envelope.type == "payment.succeeded"
    assert envelope.timestamp == "2026-10-14T08:21:45Z"
    assert envelope.business_id == "bus_1"
    assert envelope.data == {"payment_id": "p"}
    assert envelope.fields["data"] is envelope.data


@pytest.mark.parametrize(
    "wrapped",
    [
        {"eventType": "payment.succeeded", "payload": orjson.loads(BODY)},
        {
            "eventType": "payment.succeeded",
            "payload": {"data": {"payment_id": "p"}},
            "method": "POST",
            "url": "http://x",
        },
        {"payload": orjson.loads(BODY)},
        {"type": "payment.succeeded", "payload": {"data": {"payment_id": "p"}}},
    ],
)
def test_the_transformation_form_is_unwrapped(wrapped: dict[str, Any]) -> None:
    """The vendor's transformation shape means the same webhook."""
    envelope = parse(orjson.dumps(wrapped))
    assert (envelope.type, envelope.data) == ("payment.succeeded", {"payment_id": "p"})


def test_a_payload_beside_data_is_only_a_field() -> None:
    """A wire body that also has a field called payload is not unwrapped."""
    assert parse(b'{"type":"a.b","data":{"n":1},"payload":{"type":"c.d","data":{"n":2}}}').data == {"n": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"type":"\xed\xa0\x80"}', "not UTF-8"),
        (b"type=payment.succeeded", "not JSON"),
        (b'{"type":"a","data":{"x":NaN}}', "not JSON"),
        (b'{"type":"a","data":{"x":1e999}}', "not JSON"),
        (b'{"type":"a","data":{}', "not JSON"),
        (b'{"type":"a","data":{}}{}', "not JSON"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "depth"),
        (b"[" + BODY + b"]", "an array"),
        (b"null", "null"),
        (b'"payment.succeeded"', "text"),
        (b"7", "a number"),
        (b"true", "true or false"),
        (b"{}", "no type"),
        (b'{"data":{}}', "no type"),
        (b'{"type":null,"data":{}}', "no type"),
        (b'{"type":"","data":{}}', "empty text"),
        (b'{"type":7,"data":{}}', "a number"),
        (b'{"type":["a"],"data":{}}', "an array"),
        (b'{"type":"a"}', "no data"),
        (b'{"type":"a","data":null}', "null"),
        (b'{"type":"a","data":[]}', "an array"),
        (b'{"eventType":"a","payload":{"data":"x"}}', "text"),
        (b'{"eventType":"a","payload":{}}', "no data"),
    ],
)
def test_what_is_no_webhook_is_told_why(body: bytes, reason: str) -> None:
    """Each kind of unreadable body has a reason in words."""
    with pytest.raises(UnreadableBodyError, match=reason):
        parse(body)


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"\xef\xbb\xbf" + BODY, {"payment_id": "p"}),
        (b'{"type":"a","data":{"n":1},"data":{"n":2}}', {"n": 2}),
        (b'{"type":"a","data":{"n":123456789012345678901234567890}}', {"n": 1.2345678901234568e29}),
        (b'{"type":"a","timestamp":1700000000,"business_id":null,"data":{}}', {}),
    ],
)
def test_oddities_are_tolerated(body: bytes, data: dict[str, Any]) -> None:
    """A byte order mark, repeated keys, huge integers and absent or odd outer fields do not make a dead letter."""
    assert parse(body).data == data


def test_deep_nesting_is_read() -> None:
    """A hundred levels are no reason to refuse."""
    nested: Any = 1
    for _ in range(100):
        nested = {"n": nested}
    assert parse(_body_of(deep=nested)).data["deep"] == nested


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Whatever the bytes, the answer is an envelope or UnreadableBodyError."""
    with pytest.raises(UnreadableBodyError):
        parse(body + b"\x00")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
names = st.sampled_from(["type", "data", "payload", "eventType", "timestamp", "business_id", "customer", "other"])


@given(
    st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=4), max_size=6),
)
def test_any_object_is_read_or_told_why(fields: dict[str, Any]) -> None:
    """Any JSON object gives an envelope with a key, or UnreadableBodyError whose reason quotes no value."""
    try:
        body = orjson.dumps(fields)
    except TypeError:  # an integer beyond 64 bits, which only the reader takes
        return
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        assert error.__cause__ is error.__context__ is None  # noqa: PT017 - a JSONDecodeError holds the document
        return
    assert envelope.type
    assert isinstance(envelope.data, dict)
    assert kafka_key(envelope, "msg_1")


def test_the_reason_holds_nothing_of_the_body() -> None:
    """A reason may be logged, so the body must not be in it, nor hang behind it."""
    with pytest.raises(UnreadableBodyError) as caught:
        parse(b'{"email": "ann@example.com", broken')
    assert "ann" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"customer": {"customer_id": "cus_1"}, "customer_id": "cus_2"}, b"cus_1"),
        ({"customer": None, "customer_id": "cus_2", "subscription_id": "sub_1"}, b"cus_2"),
        ({"customer": {"customer_id": None}, "customer_id": "cus_2"}, b"cus_2"),
        ({"customer": "cus_9", "customer_id": ["cus_2"], "subscription_id": "sub_1"}, b"sub_1"),
        ({"subscription_id": "sub_1", "payment_id": "pay_1"}, b"sub_1"),
        ({"subscription_id": "", "payment_id": "pay_1"}, b"pay_1"),
        ({"payout_id": "pyt_1"}, b"pyt_1"),
        ({"customer_id": 42}, b"42"),
        ({"customer_id": True}, b"msg_1"),
        ({"customer_id": "c" * 255}, b"c" * 255),
        ({"customer_id": "c" * 256, "payment_id": "pay_1"}, b"pay_1"),
        ({"customer_id": 2**80}, b"msg_1"),
        ({}, b"msg_1"),
        ({"customer": {"customer_id": "고객"}}, "고객".encode()),
    ],
)
def test_the_key_is_the_customers(data: dict[str, Any], key: bytes) -> None:
    """The customer's id wherever it stands, else the next best id, else the webhook's own."""
    assert kafka_key(parse(_body_of(**data)), "msg_1") == key


def test_an_unreadable_body_is_keyed_by_its_id() -> None:
    """Without an envelope there is only the webhook id."""
    assert kafka_key(None, "msg_1") == b"msg_1"


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_has_a_key_of_its_own(name: str) -> None:
    """No genuine body falls back to the webhook id, which would scatter a customer over partitions."""
    assert kafka_key(parse(samples.load(name)), "msg_1") != b"msg_1"


def test_the_webhook_id_is_read_from_headers() -> None:
    """Other producers may spell the header's name as they like."""
    assert webhook_id_of([("other", b"1"), ("Webhook-Id", b"msg_1")], b"") == "msg_1"


@pytest.mark.parametrize("headers", [[], [("webhook-id", None)], [("webhook-id", b"")]])
def test_without_a_header_the_body_is_the_id(headers: list[tuple[str, bytes | None]]) -> None:
    """The same body has the same id, another body another one."""
    assert webhook_id_of(headers, BODY) == f"sha256_{hashlib.sha256(BODY).hexdigest()}"
    assert webhook_id_of(headers, BODY) != webhook_id_of(headers, BODY + b" ")
