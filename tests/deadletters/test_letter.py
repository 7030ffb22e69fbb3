"""A letter says where it lies, what failed and whose it is, whatever was written there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.letter import Letter, Place, read_letter
from pipeline.dodo import samples
from pipeline.errors import InputError
from pipeline.kafka.fetched import UnreadableRecord

PAYMENT = samples.load("payment.succeeded")
IDENTIFY = {
    "type": "person",
    "action": "identify",
    "identifiers": {"id": "u_1042"},
    "attributes": {"email": "jane@example.com", "name": "Jane Doe"},
}


def test_a_webhook(make: Any) -> None:
    """Of a transform's letter: place, fault, type, and the customer that the body names."""
    _, letter = make(
        2,
        7,
        key=b"cus_key",
        value=PAYMENT,
        headers=(("Webhook-Id", b"msg_9"), ("dodo-type", b"payment.succeeded"), ("dlq-replays", b"2")),
        class_="unmappable",
        reason="total_amount is missing",
        field="total_amount",
        attempts=1,
        at_ms=1_700_000_000_123,
    )
    assert letter == Letter(
        place=Place(2, 7),
        stage="transform",
        class_="unmappable",
        type="payment.succeeded",
        at_ms=1_700_000_000_123,
        reason="total_amount is missing",
        field="total_amount",
        status=None,
        source="webhooks/3/41",
        attempts=1,
        replays=2,
        webhook_id="msg_9",
        op_id=None,
        customer_id="cus_0NExampleCustomer0001",
        ids=frozenset({"cus_key", "cus_0NExampleCustomer0001", "jiwoo.han@example.com"}),
        email="jiwoo.han@example.com",
        name="Han Ji-woo",
        identity=letter.identity,
    )


def test_an_operation(make: Any) -> None:
    """Of a sink's letter the customer is the operation's person, and the type is the webhook's that made it."""
    _, letter = make(
        stage="sink",
        class_="refused",
        key=b"u_1042",
        value=json.dumps(IDENTIFY).encode(),
        headers=(("op-id", b"msg_1:identify"), ("dodo-type", b"subscription.active")),
        status=207,
        attempts=3,
    )
    assert (letter.customer_id, letter.email, letter.name) == ("u_1042", "jane@example.com", "Jane Doe")
    assert (letter.type, letter.op_id, letter.status, letter.attempts) == (
        "subscription.active",
        "msg_1:identify",
        207,
        3,
    )


def test_a_person_by_address(make: Any) -> None:
    """A person whose only identifier is the address is asked for by it."""
    _, letter = make(stage="sink", key=None, value=b'{"identifiers": {"email": "jane@example.com"}}')
    assert letter.customer_id == "jane@example.com"
    assert "jane@example.com" in letter.ids


def test_a_webhook_without_headers(make: Any) -> None:
    """Of other producers the type is the body's."""
    assert make(headers=(), value=PAYMENT)[1].type == "payment.succeeded"


def test_unreadable(make: Any) -> None:
    """A key alone names no customer, at ingest the webhook's id, at the transform whatever a producer chose."""
    at_ingest = make(stage="ingest", class_="unreadable", key=b"msg_1", value=b"{", source="http")[1]
    assert (at_ingest.type, at_ingest.customer_id, at_ingest.email, at_ingest.name) == (None, None, None, None)
    assert at_ingest.ids == {"msg_1"}
    at_transform = make(stage="transform", class_="unreadable", key=b"msg_7", value=b"{")[1]
    assert at_transform.customer_id is None
    assert at_transform.ids == {"msg_7"}  # --customer still finds it


def test_no_letter(lying: Any) -> None:
    """A record without our headers has no stage, and the record's own time."""
    letter = read_letter(lying(value=b"hello", offset=4))
    assert (letter.stage, letter.class_, letter.reason, letter.at_ms) == (None, None, None, 1_700_000_000_000)
    assert letter.place == Place(0, 4)


def test_identity(make: Any) -> None:
    """The same for the same failed record wherever and whenever its letter was written, another for any other one."""
    one = make(0, 1, at_ms=1)[1].identity
    assert make(3, 99, at_ms=2, reason="other words", attempts=5)[1].identity == one
    others = [
        make(source="webhooks/3/42"),
        make(value=b"{}"),
        make(key=b"cus_2"),
        make(key=None),
        make(stage="sink"),
        make(headers=(("webhook-id", b"msg_2"),)),
    ]
    assert len({one, *(letter.identity for _, letter in others)}) == 7


names = st.sampled_from(
    ["dlq-stage", "dlq-class", "dlq-reason", "dlq-at", "dlq-status", "dlq-replays", "dodo-type", "x"]
)


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none()
    | st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["type", "data", "customer", "customer_id", "email", "identifiers", "attributes", "id"]),
            inner,
        ),
    ).map(lambda tree: json.dumps(tree).encode()),
    headers=st.lists(st.tuples(names, st.binary(max_size=25) | st.just(b"sink") | st.just(b"transform")), max_size=8),
)
def test_whatever_lies_there(
    lying: Any, *, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    """Nothing that anybody wrote keeps the rest from being read."""
    letter = read_letter(lying(key=key, value=value, headers=tuple(headers)))
    assert letter.replays >= 0
    assert all(isinstance(known, str) for known in letter.ids)


@given(st.integers(0, 999_999_999), st.integers(0, 10**18 - 1))
def test_place(partition: int, offset: int) -> None:
    """What is shown can be typed back."""
    assert Place.parse(f" {Place(partition, offset)} ") == Place(partition, offset)


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "a/1", "1/2/3", "-1/2", "1/-2", "1 /2", "1/" + "9" * 19])
def test_no_place(text: str) -> None:
    """Anything else is refused with the right form."""
    with pytest.raises(InputError, match="PARTITION/OFFSET"):
        Place.parse(text)


def test_what_could_not_be_read(make: Any) -> None:
    """A record of the topic that reading found at fault says so, and keeps the reason that its stage gave."""
    record, letter = make(reason="from the stage")
    odd = UnreadableRecord("dead", 0, 3, -1, 0, record.key, record.value, record.headers, "a header's name")
    assert read_letter(odd).reason == letter.reason == "from the stage"
    batch = UnreadableRecord("dead", 0, 3, -1, 0, None, b"\0", (), "codec 6", 5)
    assert (read_letter(batch).stage, read_letter(batch).reason, read_letter(batch).at_ms) == (None, "codec 6", -1)
