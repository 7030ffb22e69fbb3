"""Which texts are ids of people: readable, comparable, and nobody's word for nothing."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.limits import PERSON_ID_MAX_BYTES
from pipeline.customerio.operations import event
from pipeline.transform.person_ids import is_placeholder, person_id


@pytest.mark.parametrize(
    "value",
    [
        "undefined", "Undefined", "UNDEFINED", "null", "NULL", "NaN", "nan", "none", "None", "nil", "n/a", "N/A",
        "#N/A", "true", "FALSE", "[object Object]",
        "(null)", "<null>", "<nil>", "0", "00", "0.0", "-0", "-", "--", "_", "?",
        "{}", "[]", '""', "''", "", " ", "\t\n", " undefined ", "null\u200b", "\ufeff0", "\u200b", "\u3164",
        "00000000-0000-0000-0000-000000000000", "{{user.id}}", "{{ user_id }}", "${user.id}", "<%= user.id %>",
        "{user_id}", "J\ufffdrg", "x" * 151, "가" * 51, 0, 0.0, True, False, None, [], {}, [1],
    ],
)  # fmt: skip
def test_what_is_no_id(value: Any) -> None:
    """In any case, with anything invisible around it: the next step of the chain decides."""
    assert person_id(value) is None


@pytest.mark.parametrize(
    ("value", "id_"),
    [
        ("u_1042", "u_1042"), (" u_1042 ", "u_1042"), (7, "7"), (7.0, "7"), (-3, "-3"), ("007", "007"), ("10", "10"),
        ("nobody", "nobody"), ("nullable", "nullable"), ("Nil Armstrong", "Nil Armstrong"), ("truest", "truest"),
        ("a@example.com", "a@example.com"), ("사용자", "사용자"), ("cafe\u0301", "caf\u00e9"), ("u\u200b_1", "u_1"),
        ("u\x00_1", "u_1"), ("\u202eu_1\u202c", "u_1"), ("u_1\ufe0f", "u_1"),
        ("00000000-0000-0000-0000-000000000001",) * 2,
        ("x" * 150, "x" * 150),
    ],
)  # fmt: skip
def test_what_is_one(value: Any, id_: str) -> None:
    """NFC, trimmed, without what nobody sees; a number is its digits."""
    assert person_id(value) == id_


@given(st.text())
def test_any_text(value: str) -> None:
    """An id is a form of its own: asked again it is the same, and Customer.io's stand-in can take it."""
    found = person_id(value)
    if found is None:
        return
    assert person_id(found) == found
    assert unicodedata.is_normalized("NFC", found)
    assert not any(unicodedata.category(character) in {"Cc", "Cf"} for character in found)
    assert found == found.strip()
    assert len(found.encode()) <= PERSON_ID_MAX_BYTES
    assert any(character.isalnum() for character in found)
    assert event(found, "x", id="01KJYPZCN0DEB79T60B04WC4EP", timestamp_s=1_790_000_000, attributes={})


WORDS = st.sampled_from(
    ["undefined", "null", "nan", "none", "nil", "n/a", "true", "false", "[object object]", "-", "0"]
)
AROUND = st.text(st.sampled_from(" \t\n\u200b\u2060\ufeff\u00ad\u3000"), max_size=3)


@given(WORDS, AROUND, AROUND, st.randoms())
def test_a_placeholder_in_any_dress(word: str, before: str, behind: str, random: Any) -> None:
    """Letters in any case, any invisible things around them."""
    dressed = "".join(random.choice((character.lower(), character.upper())) for character in word)
    assert person_id(before + dressed + behind) is None
    assert is_placeholder(before + dressed + behind)


def test_two_spellings_are_one_person() -> None:
    """A copied id with a zero-width space, or decomposed letters, is the id."""
    assert person_id("jo\u0308rg\u200b") == person_id("j\u00f6rg")
