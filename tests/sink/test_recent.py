"""The sink's last events, as the status page shows them."""

from __future__ import annotations

from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.records import DODO_TYPE, WEBHOOK_ID
from pipeline.sink.events import OperationsAccepted, RecordDeadLettered
from pipeline.sink.recent import recent_of
from pipeline.watch.metrics import Metrics


def record(key: bytes, type_: str = "payment.succeeded", webhook_id: str = "msg_1") -> FetchedRecord:
    """An operation about this person."""
    headers = ((DODO_TYPE, type_.encode()), (WEBHOOK_ID, webhook_id.encode()))
    return FetchedRecord("ops", 0, 1, 1_700_000_000_000, 0, key, b'{"attributes":{"name":"Ann Smith"}}', headers)


def test_what_was_accepted_and_what_was_given_up() -> None:
    """Of a request the last operation stands for all, and how many more there were is said."""
    metrics = Metrics("sink")
    recent = recent_of(metrics)
    metrics(OperationsAccepted(0, 1, 0.1, [record(b"cus_1")]))
    metrics(OperationsAccepted(0, 3, 0.1, [record(b"cus_1"), record(b"cus_2"), record(b"cus_3", webhook_id="msg_3")]))
    metrics(OperationsAccepted(0, 1, None))
    metrics(RecordDeadLettered("refused", "ops/0/12", 400, 1))
    shown = [(event.what, event.outcome, event.who, event.webhook_id) for event in recent.events()]
    assert shown == [
        ("ops/0/12", "dead letter: refused", "", ""),
        ("payment.succeeded", "accepted, with 2 more in the request", "cus_3", "msg_3"),
        ("payment.succeeded", "accepted", "cus_1", "msg_1"),
    ]


def test_nothing_of_a_person() -> None:
    """Neither the body, nor an address that is an id or was put into a header."""
    metrics = Metrics("sink")
    recent = recent_of(metrics)
    metrics(OperationsAccepted(0, 1, 0.1, [record(b"ann@example.com", "to ann@example.com", "by ann@example.com")]))
    (event,) = recent.events()
    assert (event.what, event.who, event.webhook_id) == ("to [email]", "[email]", "by [email]")
    assert "Ann" not in repr(recent._kept)
