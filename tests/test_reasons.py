"""Reasons say what is wrong and repeat nobody's data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reasons import MAX_REASON_BYTES, clean_reason


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("total_amount is missing", "total_amount is missing"),
        ("32001 bytes are over the limit of 32000", "32001 bytes are over the limit of 32000"),
        ("the customer's id isn't there", "the customer's id isn't there"),
        ("field 'data.customer' and \"batch[3].id\"", "field 'data.customer' and \"batch[3].id\""),
        ("cannot use jane.doe+x@mail.example.com here", "cannot use [email] here"),
        ("invalid address 'jane@example.com'", "invalid address '[email]'"),
        ("name 'Jane Doe' is reserved", "name [value] is reserved"),
        ("name 'O'Brien' is reserved", "name [value] is reserved"),
        ('said "a \\" b" twice', "said [value] twice"),
        ("cut off in 'Jane D", "cut off in [value]"),
        ("phone +1 (555) 555-0100 is odd", "phone [number] is odd"),
        ("card 4242-4242 4242-4242", "card [number]"),
        ("go to https://pay.example.com/x?sig=abc now", "go to [url] now"),
        ("Authorization: Basic c2l0ZTprZXkK was wrong", "Authorization: [secret] was wrong"),
        ("two\r\nlines\x00and\u2028more", "two lines and more"),
    ],
)
def test_plain_text(text: str, cleaned: str) -> None:
    """Field names, codes and sizes stay; addresses, names, numbers, links and secrets go."""
    assert clean_reason(text) == cleaned


def test_json_answer_keeps_its_structure() -> None:
    """A JSON answer stays readable: keys, codes and indexes are kept, each message is cleaned on its own."""
    answer = {
        "errors": [
            {"batch_index": 7, "reason": "invalid", "field": "identifiers.email", "message": "'Jane Doe' isn't valid"}
        ],
        "jane@example.com": 4242424242424242,
    }
    assert json.loads(clean_reason(json.dumps(answer))) == {
        "errors": [
            {"batch_index": 7, "reason": "invalid", "field": "identifiers.email", "message": "[value] isn't valid"}
        ],
        "[email]": "[number]",
    }


def test_deep_json_answer_is_cut() -> None:
    """An answer nested hundreds of levels deep costs no stack and loses only its depth."""
    assert clean_reason("[" * 500 + "]" * 500) == "[" * 16 + '"…"' + "]" * 16


@given(st.text())
def test_bound_and_single_line(text: str) -> None:
    """Whatever the text, the reason is one line of valid UTF-8 within the bound."""
    reason = clean_reason(text * 40)
    assert len(reason.encode()) <= MAX_REASON_BYTES
    assert len(reason.splitlines()) <= 1


@given(
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.from_regex(r"[a-z0-9.+_-]{1,20}@[a-z0-9-]{1,20}\.[a-z]{2,5}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.sampled_from(["text", "json", "repr"]),
)
def test_no_address_survives(before: str, address: str, after: str, form: str) -> None:
    """No e-mail address survives, in plain text or in JSON, whatever stands around it."""
    text = f"{before} {address} {after}"
    reason = clean_reason({"text": text, "json": json.dumps({"message": text}), "repr": repr([text])}[form])
    assert address not in reason


def test_hostile_length() -> None:
    """Two megabytes without a space, or of quotes, are cut before they are searched."""
    for text in ("a" * 2_000_000, "'\\" * 1_000_000, "@a" * 1_000_000, "+1" * 1_000_000):
        assert len(clean_reason(text).encode()) <= MAX_REASON_BYTES
