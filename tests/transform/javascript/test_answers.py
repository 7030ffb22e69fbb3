"""What recipes return becomes what can be told about this webhook's customer, or is refused with the file."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ShapingError
from pipeline.transform.javascript.answers import NamedEvent, Told, told

BODY = {
    "data": {
        "customer": {
            "customer_id": "cus_1", "email": "Ada@Example.com", "name": "Ada", "metadata": {"user_id": 17, "crm": "c-9"}
        },
        "metadata": {"order": "o-1"},
    }
}  # fmt: skip
ID_ONLY = {"data": {"customer_id": "cus_1"}}


def payload(**members: Any) -> dict[str, Any]:
    """A payload of the vendor's form; `...` leaves a member out."""
    whole = {"type": "person", "identifiers": {"id": "cus_1"}, "action": "payment_completed", "name": "Paid", **members}
    return {name: value for name, value in whole.items() if value is not ...}


def of(*payloads: Any, body: dict[str, Any] = BODY, chain: tuple[str, ...] = ("customer_id",)) -> Told:
    """What they tell."""
    return told([(f"{number}.js", one) for number, one in enumerate(payloads)], body, chain)


def refused(one: Any, body: dict[str, Any] = BODY, chain: tuple[str, ...] = ("customer_id",)) -> str:
    """Why it is refused; the place is its file, and no value of the body is quoted."""
    with pytest.raises(ShapingError) as caught:
        of(one, body=body, chain=chain)
    assert caught.value.place == "0.js"
    assert all(value not in str(caught.value).lower() for value in ("cus_1", "example.com", "c-9", "o-1"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({}, "Paid"),
        ({"action": "event"}, "Paid"),
        ({"name": ...}, "payment_completed"),
        ({"name": ""}, "payment_completed"),
        ({"action": ...}, "Paid"),
        ({"action": None, "type": ...}, "Paid"),
        ({"id": "their-own", "timestamp": 17}, "Paid"),
    ],
)
def test_an_action_that_customer_io_does_not_have_is_an_event(members: dict[str, Any], name: str) -> None:
    """It is called by its name, else by its action; attributes are kept as they are, ids and times are not told."""
    attributes = {"amount": "49.00", "nothing": None, "list": [1]}
    assert of(payload(**members, attributes=attributes)) == Told(None, (NamedEvent(name, attributes, "0.js"),))


def test_identifies_are_one_and_events_keep_their_order() -> None:
    """Of attributes that two files tell the later counts; the name of an identify means nothing."""
    found = of(
        payload(action="identify", attributes={"email": "a", "vip": True}),
        payload(name="One"),
        payload(action="identify", attributes={"email": "b"}),
        payload(name="Two", attributes=None),
    )
    assert found.profile == {"email": "b", "vip": True}
    assert found.events == (NamedEvent("One", {}, "1.js"), NamedEvent("Two", {}, "3.js"))
    assert of() == Told(None, ())
    assert of(payload(action="identify")).profile == {}


@pytest.mark.parametrize(
    ("identifiers", "chain"),
    [
        ({"id": "cus_1"}, ("customer_id",)),
        ({"id": "cus_1"}, ("email",)),
        ({"email": " ada@example.com"}, ("customer_id",)),
        ({"id": "ada@example.com"}, ("email", "customer_id")),
        ({"id": 17}, ("metadata.user_id", "customer_id")),
        ({"id": "o-1"}, ("metadata.order",)),
        ({"id": "cus_1", "email": "ada@example.com"}, ("customer_id",)),
    ],
)
def test_a_recipe_may_name_this_webhooks_customer_in_any_way(identifiers: Any, chain: tuple[str, ...]) -> None:
    """By the customer's id, address, or what the identity policy takes: the pipeline knows who that is."""
    assert of(payload(identifiers=identifiers), chain=chain).events


@pytest.mark.parametrize(
    ("identifiers", "hint"),
    [
        ({"id": "c-9"}, "set PIPELINE_PERSON_ID=metadata.crm,customer_id"),
        ({"id": 17}, "set PIPELINE_PERSON_ID=metadata.user_id,customer_id"),
        ({"id": "ada@example.com"}, "set PIPELINE_PERSON_ID=email"),
        ({"id": "cus_2"}, "not one of this webhook's customer"),
        ({"email": "eve@example.org"}, "not one of this webhook's customer"),
        ({"id": "cus_1", "email": "eve@example.org"}, "not one of this webhook's customer"),
        ({"cio_id": "a"}, "others than id and email"),
        ({"id": ""}, "whose it is cannot be told"),
        ({"id": None}, "whose it is cannot be told"),
        ({"id": {"a": 1}}, "whose it is cannot be told"),
        ({"id": True}, "whose it is cannot be told"),
        ({}, "no identifiers"),
        ("cus_1", "no identifiers"),
        (..., "no identifiers"),
    ],
)
def test_nothing_goes_to_somebody_else(identifiers: Any, hint: str) -> None:
    """Another person's id is refused, and where a setting would make it this customer's it is named."""
    assert hint in refused(payload(identifiers=identifiers))


def test_no_address_is_nobodys() -> None:
    """A webhook without an address is not the customer of an empty one."""
    assert "whose it is" in refused(payload(identifiers={"email": ""}), ID_ONLY)
    assert "not one of" in refused(payload(identifiers={"id": "undefined"}), ID_ONLY)
    assert of(payload(), body=ID_ONLY).events


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (5, "a number and no object"),
        ([], "an array and no object"),
        ("a", "text and no object"),
        (None, "null and no object"),
        ({"data": {}, "type": "payment.succeeded"}, "neither identifiers nor action"),
        (payload(type="object"), "people alone"),
        (payload(action="delete"), "the action delete is none for a webhook"),
        (payload(action="suppress"), "the action suppress"),
        (payload(action="merge"), "the action merge"),
        (payload(action="event", name=...), "no name"),
        (payload(action=..., name=" "), "no name"),
        (payload(action=5, name=5), "no name"),
        (payload(attributes=[1]), "the attributes are an array"),
    ],
)
def test_what_is_no_operation_is_refused(one: Any, said: str) -> None:
    """In words, with the file; nothing that cannot be undone starts from a webhook."""
    assert said in refused(one)
