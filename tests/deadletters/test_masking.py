"""What belongs to a person is not shown; what an operator needs is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.masking import (
    MAX_DEPTH,
    mask_body,
    mask_id,
    mask_person,
    mask_text,
    private_in,
    private_words,
)
from pipeline.dodo import samples

PRIVATE = {
    "jiwoo.han@example.com",
    "Han Ji-woo",
    "HAN JI-WOO",
    "+15555550142",
    "1 Example Street",
    "97477",
    "4242",
    "Example Trading Ltd",
    "US123456789",
    "PRO-AAAA-BBBB-CCCC-DDDD",
    "Budget was cut",
    "https://",
}
"""What the samples' people would not want on a screen."""


@pytest.mark.parametrize("name", samples.names())
def test_samples(name: str) -> None:
    """No sample shows a person; ids, amounts, times and the structure stay as they are."""
    body = orjson.loads(samples.load(name))
    masked = mask_body(body)
    text = json.dumps(masked, ensure_ascii=False)
    assert not [word for word in PRIVATE if word in text]
    assert (masked["type"], masked["timestamp"], masked["business_id"]) == (
        body["type"],
        body["timestamp"],
        body["business_id"],
    )
    kept = ("payment_id", "subscription_id", "customer_id", "total_amount", "currency", "status", "created_at")
    assert {key: masked["data"].get(key) for key in kept} == {key: body["data"].get(key) for key in kept}
    assert _shape(masked) == _shape(body)


def _shape(node: Any) -> Any:
    match node:
        case dict():
            return {key: _shape(value) for key, value in node.items()}
        case list():
            return [_shape(item) for item in node]
        case _:
            return None


def test_an_operation() -> None:
    """A person's name is hidden, an event's name is what the operator looks for."""
    operation = {
        "type": "person",
        "action": "event",
        "name": "payment_completed",
        "identifiers": {"id": "cus_1"},
        "attributes": {"name": "Jane Doe", "product_name": "Team", "amount": 5, "email": "jane@example.com"},
    }
    assert mask_body(operation) == {
        "type": "person",
        "action": "event",
        "name": "payment_completed",
        "identifiers": {"id": "cus_1"},
        "attributes": {"name": "[name]", "product_name": "Team", "amount": 5, "email": "[email]"},
    }


@pytest.mark.parametrize("beside", ["product_id", "discount_id", "addon_id"])
def test_a_person_s_name_beside_a_thing_s_id(beside: str) -> None:
    """In an operation's attributes `name` is the person's, also where a body would call a product so."""
    attributes = {"name": "Jane Doe", beside: "id_1"}
    operation = {"type": "person", "action": "event", "name": "subscription_started", "attributes": attributes}
    masked = mask_body(operation)
    assert masked["attributes"] == {"name": "[name]", beside: "id_1"}
    assert masked["name"] == "subscription_started"
    assert private_words(operation) == ("Jane Doe",)
    assert mask_body({"product_cart": [attributes]})["product_cart"] == [attributes]


def test_private_words_leave_a_reason() -> None:
    """A name that a foreign producer wrote into its reason is hidden there too, as a word, in any case."""
    words = private_words({"customer": {"name": "Jane Doe", "phone_number": "+1 555"}, "note": "fine"})
    assert words == ("Jane Doe", "+1 555")
    assert mask_text("customer JANE DOE (+1 555) is fine; Jane Does is not", words) == (
        "customer [private] ([private]) is fine; Jane Does is not"
    )


def test_an_address_as_a_key() -> None:
    """Not even a field called by an address shows it."""
    assert mask_body({"jane@example.com": {"id": 1}}) == {"[email]": {"id": 1}}


def test_everything_inside_a_personal_field() -> None:
    """A name that is an object or a list, and numbers in place of text, are hidden whole."""
    assert mask_body({"name": {"first": "Jane", "n": [7, None, True, ""]}}) == {
        "name": {"first": "[name]", "n": ["[name]", None, True, ""]}
    }


def test_depth() -> None:
    """A body nested beyond all sense costs its depth and not the process."""
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert json.dumps(mask_body(deep)).count("[") == MAX_DEPTH + 1
    assert private_words(deep) == ()


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "email", "id", "x"]), inner),
    max_leaves=15,
)


@given(json_trees, st.from_regex(r"[a-z0-9.+_-]{1,20}@[a-z0-9-]{1,20}\.[a-z]{2,5}", fullmatch=True))
def test_no_address_survives(tree: Any, address: str) -> None:
    """Wherever an address lies, it is not in what is shown."""
    assert address not in json.dumps(mask_body({"a": [tree, f"to {address} now"], "b": {address: tree}}))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b"cus_0NhQ4mV2ab", "cus_0NhQ4mV2ab"), (b"test_cus_0NhQ4mV2ab", "test_cus_0NhQ4mV2ab"),
        (b"ann@example.com", "[email]"), (b"4915112345678", "[number]"), (b"ann-smith", "[id]"),
        (b"user_17", "[id]"), (b"cus_1 ann@example.com", "[id]"), (b"\xff", "[id]"), (b"", ""), (None, ""),
    ],
)  # fmt: skip
def test_who_it_is_about(key: bytes | None, shown: str) -> None:
    """Dodo's id tells nobody who that is; whatever else an identity policy takes for one may do."""
    assert mask_person(key) == shown


@pytest.mark.parametrize(
    ("webhook_id", "shown"),
    [
        ("msg_3f1092c1234567890123e8", "msg_3f1092c1234567890123e8"), ("mine-1", "mine-1"),
        ("for ann@example.com", "for [email]"), ("", ""),
    ],
)  # fmt: skip
def test_a_webhook_id(webhook_id: str, shown: str) -> None:
    """Dodo's can be asked for as it is shown; others are masked as every text."""
    assert mask_id(webhook_id) == shown


def test_private_words_of_a_record() -> None:
    """They are read out of the record's JSON, the longest first; bytes that are none have none."""
    body = {"data": {"customer": {"name": "Ann Smith", "email": "ann@example.com"}}}
    assert private_in(orjson.dumps(body)) == private_words(body)
    assert "Ann Smith" in private_words(body)
    assert (private_in(b"not json"), private_in(None)) == ((), ())


def test_an_unhidden_word_is_left_alone() -> None:
    """A private word that the text does not have changes nothing."""
    assert mask_text("card was declined", ["Ann"]) == "card was declined"
