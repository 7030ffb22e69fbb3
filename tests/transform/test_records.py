"""Decisions become records with the headers of the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pipeline.customerio.vouching import word_for
from pipeline.kafka.records import OutRecord
from pipeline.transform.decision import Decision
from pipeline.transform.records import dead_letter_record, operation_records
from pipeline.transform.verdicts import DeadLettered, MappedOperation, Operations
from tests.records import Consumed

consumed = partial(
    Consumed,
    headers=(("webhook-id", b"msg_1"), ("received-at", b"1767000000456")),
    key=b"cus_1",
    partition=3,
    offset=41,
    timestamp=1_767_000_000_999,
)
"""A record as a consumer hands it out."""


OPERATIONS = Operations(
    person_key=b"cus_1",
    operations=(
        MappedOperation("01A", b'{"action":"identify"}', barrier=True, kind="identify", name=None),
        MappedOperation("01B", b'{"action":"event"}', barrier=False, kind="event", name="payment_completed"),
    ),
    event_time_ms=1_767_000_000_000,
)
DECISION = Decision(OPERATIONS, "payment.succeeded", "msg_1")


def test_operations() -> None:
    """Every operation keeps its order, bytes and key, and has every header; only a barrier has the barrier's."""
    shared = (
        ("webhook-id", b"msg_1"),
        ("dodo-type", b"payment.succeeded"),
        ("event-time", b"1767000000000"),
        ("received-at", b"1767000000456"),
        ("source", b"dodo.webhooks/3/41"),
    )
    assert operation_records(consumed(), DECISION, OPERATIONS) == [
        OutRecord(
            b"cus_1",
            b'{"action":"identify"}',
            (("checked", b"21:51ff0795:more"), ("op-id", b"01A"), *shared, ("barrier", b"1")),
        ),
        OutRecord(b"cus_1", b'{"action":"event"}', (("checked", b"18:3c35065b"), ("op-id", b"01B"), *shared)),
    ]


def test_what_the_sink_must_heed_is_announced() -> None:
    """`checked` says whether there is more to look at, and a sink that does not know it finds the same headers."""
    told = replace(OPERATIONS, identity=bytes(16), not_before_s=1_767_000_003)
    for operations, expected in (
        (OPERATIONS, {"01A": ("barrier",), "01B": ()}),
        (told, {"01A": ("not-before", "barrier"), "01B": ()}),
        (replace(told, operations=(replace(told.operations[0], barrier=False),)), {"01A": ("not-before",)}),
    ):
        records = operation_records(consumed(), replace(DECISION, whose=b"cus_1"), operations)
        found = {}
        for record in records:
            (first, word), *_ = record.headers
            names = tuple(name for name, _ in record.headers if name in {"barrier", "not-before"})
            assert (first, word) == ("checked", word_for(record.value or b"") + (b":more" if names else b""))
            found[dict(record.headers)["op-id"].decode()] = names
        assert found == expected


def test_an_operation_about_somebody_else_has_their_key() -> None:
    """So that it lies behind all that was sent to them."""
    other = MappedOperation("01C", b'{"action":"delete"}', True, "delete", None, b"cus_2")
    told = replace(OPERATIONS, operations=(*OPERATIONS.operations, other))
    assert [record.key for record in operation_records(consumed(), DECISION, told)] == [b"cus_1", b"cus_1", b"cus_2"]


def test_an_identify_says_what_it_tells() -> None:
    """With the state, and on the identify alone: by these headers the sink can say that it was given up."""
    told = replace(OPERATIONS, identity=bytes(range(16)))
    identify, event = operation_records(consumed(), replace(DECISION, whose=b"cus_1"), told)
    assert identify.headers[-3:] == (
        ("identity", b"000102030405060708090a0b0c0d0e0f"),
        ("identity-of", b"cus_1"),
        ("barrier", b"1"),
    )
    for records in ([event], operation_records(consumed(), DECISION, told)):
        assert not any(name.startswith("identity") for record in records for name, _ in record.headers)


def test_missing_reception_is_the_records_time() -> None:
    """Without `received-at` the operations say when the webhook reached Kafka."""
    (first, _) = operation_records(consumed(headers=()), DECISION, OPERATIONS)
    assert ("received-at", b"1767000000999") in first.headers


def test_a_reception_at_no_time() -> None:
    """Where the record has no time either, or one that no clock showed, it is the event's."""
    for timestamp in (-1, 2**63 - 1):
        (first, _) = operation_records(consumed(headers=(), timestamp=timestamp), DECISION, OPERATIONS)
        assert ("received-at", b"1767000000000") in first.headers


def test_dead_letter() -> None:
    """A dead letter names this stage, the class, the field and the source, and keeps the record."""
    record = consumed(value=b"\xff")
    letter = dead_letter_record(record, DeadLettered("unmappable", "no customer", "data.customer"), 1_767_000_001_000)
    assert (letter.key, letter.value, letter.headers[:2]) == (b"cus_1", b"\xff", record.headers)
    assert dict(letter.headers[2:]) == {
        "dlq-stage": b"transform",
        "dlq-class": b"unmappable",
        "dlq-reason": b"no customer",
        "dlq-field": b"data.customer",
        "dlq-source": b"dodo.webhooks/3/41",
        "dlq-at": b"1767000001000",
        "dlq-attempts": b"1",
        "dlq-replays": b"0",
    }
