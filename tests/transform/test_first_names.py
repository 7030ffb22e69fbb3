"""A first name is cut only where it is plainly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.first_names import first_name


@pytest.mark.parametrize(
    ("name", "country", "expected"),
    [
        ("Ada Lovelace", "GB", "Ada"),
        ("Ada Lovelace", None, "Ada"),
        ("Jean-Luc Martin", "FR", "Jean-Luc"),
        ("D'Arcy Wretzky", "US", "D'Arcy"),
        ("Zo\u00eb \u00c5ngstr\u00f6m", "SE", "Zo\u00eb"),
        ("\u0410\u043d\u043d\u0430 \u041f\u0435\u0442\u0440\u043e\u0432\u0430", "KZ", "\u0410\u043d\u043d\u0430"),
        ("ada lovelace", "GB", "Ada"),
        ("ADA LOVELACE", "GB", "Ada"),
        ("Maria del Carmen Ruiz", "ES", "Maria"),
    ],
)
def test_a_given_name(name: str, country: str | None, expected: str) -> None:
    """The first of several words in a script that puts it first."""
    assert first_name(name, country) == expected


@pytest.mark.parametrize(
    ("name", "country"),
    [
        (None, "US"),
        ("Ada", "GB"),
        ("Han Ji-woo", "US"),
        ("Han Jiwoo", "KR"),
        ("Nguyen Van An", "VN"),
        ("\ud55c\uc9c0\uc6b0", "US"),
        ("\u5c71\u7530 \u592a\u90ce", "US"),
        ("Lovelace, Ada", "GB"),
        ("Dr. Ada Lovelace", "GB"),
        ("A. Lovelace", "GB"),
        ("A Lovelace", "GB"),
        ("Example Trading Ltd", "GB"),
        ("Example & Sons", "GB"),
        ("The Shop", "GB"),
        ("ada@example.com Lovelace", "GB"),
        ("Ada2 Lovelace", "GB"),
        ("Ada Bea Cea Dea Eva Fea", "GB"),
        ("ADA lovelace", "GB"),
        ("", "GB"),
    ],
)
def test_no_given_name(name: str | None, country: str) -> None:
    """One word, the family's name first, titles, initials, firms, whatever else: nobody is called by it."""
    assert first_name(name, country) is None


@given(st.text(max_size=40), st.sampled_from([None, "GB", "KR"]))
def test_whatever_is_cut_stood_there(name: str, country: str | None) -> None:
    """Any text ends in a word of it, or in nothing."""
    cut = first_name(name, country)
    assert cut is None or cut.lower() == name.split(maxsplit=1)[0].lower()
