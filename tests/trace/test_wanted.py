"""Which webhooks are meant is told by header, payment or customer, however the body writes it."""

from __future__ import annotations

import json

import pytest

from pipeline.kafka.fetched import FetchedRecord
from pipeline.trace.wanted import Kind, Wanted


def record(body: bytes, key: bytes | None = None, **headers: str) -> FetchedRecord:
    """One of the webhooks' topic."""
    named = [(name.replace("_", "-"), text.encode()) for name, text in headers.items()]
    return FetchedRecord("dodo.webhooks", 0, 0, 0, 0, key, body, named)


def body(ascii_only: bool = False, **data: object) -> bytes:
    """A webhook with this data."""
    return json.dumps({"type": "payment.succeeded", "data": data}, ensure_ascii=ascii_only).encode()


CUSTOMER = {"customer_id": "cus_1", "email": "José@Example.com"}


@pytest.mark.parametrize(
    ("kind", "value", "one", "is_meant"),
    [
        ("webhook-id", "msg_1", record(b"{", webhook_id="msg_1"), True),
        ("webhook-id", "msg_1", record(body(id="msg_1")), False),
        ("payment-id", "pay_1", record(body(payment_id="pay_1")), True),
        ("payment-id", "pay_1", record(body(recovered_payment_id="pay_1")), True),
        ("payment-id", "pay_1", record(body(payment_id="pay_12")), False),
        ("payment-id", "pay_1", record(body(note="pay_1")), False),
        ("customer", "cus_1", record(body(customer=CUSTOMER)), True),
        ("customer", "cus_1", record(body(customer_id="cus_1")), True),
        ("customer", "cus_1", record(body(note="x"), b"cus_1"), True),
        ("customer", "cus_1", record(body(customer={"customer_id": "cus_12"}, note="cus_1")), False),
        ("customer", "josé@example.com", record(body(customer=CUSTOMER)), True),
        ("customer", "JOSÉ@example.COM", record(body(ascii_only=True, customer=CUSTOMER)), True),
        ("customer", "jane@example.com", record(body(customer=CUSTOMER)), False),
        ("customer", "cus_1", record(body(customer=CUSTOMER), dodo_command="share"), False),
        ("customer", "cus_1", record(b"cus_1 is no webhook"), False),
    ],
)
def test_it_is_meant(kind: Kind, value: str, one: FetchedRecord, is_meant: bool) -> None:
    """By what it says of itself, never by what merely stands somewhere in it."""
    assert Wanted(kind, value).matches(one) is is_meant


def test_one_without_an_id_is_found_by_its_digest() -> None:
    """As the pipeline itself calls it."""
    import hashlib

    value = body(payment_id="pay_1")
    assert Wanted("webhook-id", f"sha256_{hashlib.sha256(value).hexdigest()}").matches(record(value))
