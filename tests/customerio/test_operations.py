"""Operations are exact bytes in the documented form, or an error that says which part is wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.operations import event, identify, merge
from pipeline.errors import OperationError, OversizeError

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
AT_S = 1_767_225_600


def an_event(**changes: Any) -> bytes:
    """A valid event with `changes`."""
    values: dict[str, Any] = {
        "person_id": "cus_1",
        "name": "payment_completed",
        "id": ULID,
        "timestamp_s": AT_S,
        "attributes": {"currency": "USD"},
    } | changes
    return event(values.pop("person_id"), values.pop("name"), **values)


def test_event_bytes() -> None:
    """A custom event is `action: event` with a name, compact, in a fixed order of keys."""
    assert an_event() == (
        b'{"type":"person","identifiers":{"id":"cus_1"},"action":"event","name":"payment_completed",'
        b'"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","timestamp":1767225600,"attributes":{"currency":"USD"}}'
    )


def test_identify_bytes() -> None:
    """An identify has the time that its attributes describe, and nulls stay to remove attributes."""
    assert identify("cus_1", {"email": "jane@example.com", "next_billing": None}, timestamp_s=AT_S) == (
        b'{"type":"person","identifiers":{"id":"cus_1"},"action":"identify","timestamp":1767225600,'
        b'"attributes":{"email":"jane@example.com","next_billing":null}}'
    )


def test_a_person_can_be_addressed_by_email() -> None:
    """Exactly one identifier is sent, the one that was asked for."""
    operation = orjson.loads(identify("jane@example.com", {}, timestamp_s=AT_S, identifier="email"))
    assert operation["identifiers"] == {"email": "jane@example.com"}


def test_names_are_trimmed() -> None:
    """Spaces around a name go, as Customer.io trims them."""
    assert orjson.loads(an_event(name="  Payment Completed\n"))["name"] == "Payment Completed"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"person_id": ""}, "identifiers"),
        ({"person_id": "  "}, "identifiers"),
        ({"person_id": "é" * 76}, "identifiers"),
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "é" * 51}, "name"),
        ({"id": "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"}, "id"),
        ({"id": ULID.lower()}, "id"),
        ({"id": ULID + "\n"}, "id"),
        ({"id": "9f1c7b1e-4f8e-4a52-8a57-0d8b1a0a6f11"}, "id"),
        ({"timestamp_s": 0}, "timestamp"),
        ({"timestamp_s": AT_S * 1000}, "timestamp"),
        ({"attributes": {"a": object()}}, "attributes"),
    ],
)
def test_refuses_what_customerio_would_refuse(changes: dict[str, Any], field: str) -> None:
    """A wrong part is named before anything is sent."""
    with pytest.raises(OperationError) as caught:
        an_event(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize("changes", [{"person_id": "é" * 75}, {"name": "é" * 50}])
def test_accepts_the_longest(changes: dict[str, Any]) -> None:
    """Limits count bytes and are inclusive."""
    assert orjson.loads(an_event(**changes))["type"] == "person"


def test_an_operation_may_have_exactly_the_limit() -> None:
    """32,000 bytes pass, one more does not."""
    room = ITEM_MAX_BYTES - len(an_event(attributes={"a": ""}))
    assert len(an_event(attributes={"a": "x" * room})) == ITEM_MAX_BYTES
    with pytest.raises(OversizeError, match="32,001"):
        an_event(attributes={"a": "x" * (room + 1)})


def test_errors_quote_nothing_private() -> None:
    """Messages name the part, never its content."""
    with pytest.raises(OperationError) as caught:
        an_event(person_id="jane@example.com" * 20)
    assert "jane" not in str(caught.value)


def test_nobody_is_merged_into_themselves() -> None:
    """The same identifier with the same value is one person; the same value of another kind may be two."""
    with pytest.raises(OperationError, match="into itself"):
        merge("cus_1", "cus_1")
    assert orjson.loads(merge("cus_1", "cus_1", secondary_identifier="email"))["secondary"] == {"email": "cus_1"}
