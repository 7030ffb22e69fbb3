"""Which webhooks are meant is told by header, payment or customer, however the body writes it."""

from __future__ import annotations

import json

import pytest

from pipeline.kafka.fetched import FetchedRecord
from pipeline.trace.wanted import FOLLOWED_MAX, Kind, Wanted


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


NAMED = record(body(customer=CUSTOMER))
BY_ID = record(body(customer_id="cus_1"), b"cus_1")


def test_an_address_is_followed_to_the_customers_who_have_it() -> None:
    """By id alone too, and in no case to whoever has a longer id, or merely names this one."""
    alone = Wanted("customer", "josé@example.com")
    both, left_out = alone.following([NAMED, record(body(customer=CUSTOMER | {"customer_id": "cus_2"}))])
    assert (alone.matches(BY_ID), both.matches(BY_ID), left_out) == (False, True, 0)
    assert both.matches(NAMED)
    assert both.matches(record(b"{", b"cus_2"))
    assert not both.matches(record(body(customer_id="cus_12"), b"cus_12"))
    assert not both.matches(record(body(customer_id="cus_3", note="cus_1"), b"cus_3"))


def test_an_address_of_many_is_followed_to_the_newest_of_them() -> None:
    """An address that a shop gives to every guest costs no more than a hundred; how many are left out is known."""
    guests = [record(body(customer=CUSTOMER | {"customer_id": f"cus_{number}"})) for number in range(FOLLOWED_MAX + 3)]
    both, left_out = Wanted("customer", "josé@example.com").following(guests)
    assert left_out == 3
    seen = [both.matches(record(b"{", f"cus_{number}".encode())) for number in range(FOLLOWED_MAX + 3)]
    assert seen == [False] * 3 + [True] * FOLLOWED_MAX


@pytest.mark.parametrize(("kind", "value"), [("customer", "cus_1"), ("payment-id", "pay_1"), ("webhook-id", "msg_1")])
def test_nothing_else_is_followed(kind: Kind, value: str) -> None:
    """Whoever has an address names the id as well, and two customers with one address are two people."""
    wanted = Wanted(kind, value)
    assert wanted.following([NAMED]) == (wanted, 0)
