"""A record is read once, into what every later step is given."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.kafka.fetched import FetchedRecord
from pipeline.transform.profile import Contact
from pipeline.transform.webhook import Command, Unusable, Webhook, read

HEADERS = (
    ("webhook-id", b"msg_1"),
    ("webhook-timestamp", b"1792000000"),
    ("dodo-type", b"payment.succeeded"),
    ("dodo-mode", b"test"),
    ("received-at", b"1792000002123"),
)


def record(
    value: bytes | None = samples.load("payment.succeeded"), headers: tuple[tuple[str, bytes], ...] = HEADERS
) -> FetchedRecord:
    """A record as a consumer hands it out."""
    return FetchedRecord("webhooks", 1, 7, 1_792_000_009_000, 0, b"cus_1", value, headers)


def webhook(**how: Any) -> Webhook:
    """The same, read."""
    found = read(record(**how))
    assert isinstance(found, Webhook)
    return found


def test_what_every_step_is_given() -> None:
    """Delivery, times, customer and contact, each told by the body or the headers."""
    found = webhook()
    data = found.envelope.data
    assert (found.delivery.webhook_id, found.delivery.mode) == ("msg_1", "test")
    assert found.times.snapshot_s == 1_792_000_000
    assert (found.customer, found.customer_id) == (data["customer"], data["customer"]["customer_id"])
    assert found.contact == Contact("jiwoo.han@example.com", "Han Ji-woo", "+15555550142", "US")
    assert found.paid.minor == data["total_amount"]
    assert found.paid is found.paid


@given(st.permutations(HEADERS), st.lists(st.sampled_from([str.upper, str.title, str.lower]), min_size=5, max_size=5))
def test_headers_are_read_alike_whatever_their_case_and_order(pairs: Any, spelt: Any) -> None:
    """Other producers write them as they like; ours are read by a shorter way, to the same end."""
    odd = tuple((how(name), value) for how, (name, value) in zip(spelt, pairs, strict=True))
    assert webhook(headers=odd).delivery == webhook().delivery
    twice = (*pairs, *((name.upper(), b"5") for name, _ in pairs))
    assert webhook(headers=twice).delivery == webhook().delivery


@pytest.mark.parametrize(
    ("value", "headers", "type_", "class_"),
    [
        (None, HEADERS, None, "unreadable"),
        (b"{oops", HEADERS, None, "unreadable"),
        (b"[]", HEADERS, None, "unreadable"),
        (samples.load("payment.succeeded"), (("webhook-id", b"m" * 256),), "payment.succeeded", "unmappable"),
        (samples.load("payment.succeeded"), (("dodo-mode", b"odd"),), "payment.succeeded", "unmappable"),
    ],
)
def test_what_cannot_be_used(
    value: bytes | None, headers: tuple[tuple[str, bytes], ...], type_: str | None, class_: str
) -> None:
    """It says why, and of which type it is where the body could be read."""
    found = read(record(value, headers))
    assert isinstance(found, Unusable)
    assert (found.type, found.verdict.class_) == (type_, class_)


def test_a_command() -> None:
    """Its body is its own business: it need not be a webhook's."""
    found = read(record(b"{oops", (("Dodo-Command", b"forget"), ("webhook-id", b"c_1"))))
    assert isinstance(found, Command)
    assert (found.name, found.body, found.webhook_id) == ("forget", b"{oops", "c_1")
    assert isinstance(read(record(headers=(*HEADERS, ("dodo-command", b"")))), Webhook)


@pytest.mark.parametrize(
    "cart",
    [None, [], {}, [None, 3, {}], [{"product_id": " p ", "quantity": -1}, {"product_id": "q", "quantity": "2"}]],
)
def test_a_cart_of_any_form(cart: Any) -> None:
    """What names no product is left out, a quantity below nothing is not said."""
    body = orjson.loads(samples.load("payment.succeeded"))
    body["data"]["product_cart"] = cart
    found = webhook(value=orjson.dumps(body)).paid.cart
    assert found == ([("p", None), ("q", 2)] if cart and "product_id" in str(cart) else [])
