"""E-mail addresses over all of Unicode."""

from __future__ import annotations

import unicodedata
from email.headerregistry import Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.transform.addresses import MAX_EMAIL_BYTES, address_of, read
from pipeline.transform.characters import has_invisible, is_invisible, trimmed, visible

INVISIBLE = (
    st.characters(categories=["Cf", "Cc"])
    | st.sampled_from("\u034f\u115f\u1160\u17b4\u180b\u3164\ufe00\ufe0f\uffa0")
    | st.characters(min_codepoint=0xE0100, max_codepoint=0xE01EF)
)
AROUND = st.text(INVISIBLE | st.sampled_from(" \t\u00a0\u3000\u2003"), max_size=4)
ADDRESSES = st.emails().filter(lambda address: len(address.encode()) <= MAX_EMAIL_BYTES)


@given(ADDRESSES)
def test_what_is_an_address(address: str) -> None:
    """Every ASCII address of RFC 5322's plain form goes through as it is."""
    assert read(address) == (address, None, False)


@given(AROUND, ADDRESSES, AROUND)
def test_what_stands_around_it_goes(before: str, address: str, behind: str) -> None:
    """Whatever it is, and it is counted when it was more than space."""
    found = read(before + address + behind)
    assert found.address == address
    assert found.trimmed == any(map(is_invisible, (before + address + behind).strip()))


@given(ADDRESSES, INVISIBLE | st.just("\ufffd"), st.data())
def test_what_stands_inside_spoils_it(address: str, character: str, data: st.DataObject) -> None:
    """Nobody knows what was meant: no address."""
    at = data.draw(st.integers(1, len(address) - 1))
    found = read(address[:at] + character + address[at:])
    assert found.address is None
    assert found.fault


@given(st.text(), st.text())
@example("a\u037eb", "example.com")  # a Greek question mark, whose final form is a semicolon
def test_any_two_texts(local: str, domain: str) -> None:
    """What is taken is one address in its final form, of visible characters, by the standard library's reading too."""
    found = read(f"{local}@{domain}").address
    if found is None:
        return
    assert read(found) == (found, None, False)
    assert unicodedata.is_normalized("NFC", found)
    assert not has_invisible(found)
    assert found.count("@") == 1
    assert not any(character.isspace() for character in found)
    assert all(part for half in found.split("@") for part in half.split("."))
    if found.isascii():
        assert Address(addr_spec=found).addr_spec == found


@given(
    AROUND,
    ADDRESSES
    | st.text()
    | st.lists(st.sampled_from("ab.@-_ +:,<\u00e9"), max_size=9).map("".join)
    | st.just("a@" + "b" * MAX_EMAIL_BYTES),
)
def test_the_usual_ones_are_read_the_same(around: str, value: str) -> None:
    """What is known for an address at first sight is one by all rules, and the same."""
    for text in (value, around + value):
        assert address_of(text) == read(text).address


@pytest.mark.parametrize("value", [None, 7, True, [], {}, b"a@example.com"])
def test_what_is_no_text(value: object) -> None:
    """No address, and no exception."""
    assert read(value).address is None


@given(st.text())
def test_characters(text: str) -> None:
    """Trimmed is a part without blanks at its ends; visible has nothing that cannot be seen."""
    assert trimmed(text) in text
    assert trimmed(trimmed(text)) == trimmed(text)
    assert visible(visible(text)) == visible(text)
    assert not has_invisible(visible(text))
