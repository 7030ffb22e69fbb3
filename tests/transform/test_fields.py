"""Tolerant reading: what means the same is the same, the rest is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.transform import fields


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("cus_1", "cus_1"),
        ("  cus_1\n", "cus_1"),
        ("", None),
        ("   ", None),
        (42, "42"),
        (42.0, "42"),
        (4.2, None),
        (1e300, None),
        (True, None),
        (None, None),
        ([], None),
        ({"a": 1}, None),
    ],
)
def test_text(sent: Any, read: str | None) -> None:
    """A number where text belongs is its digits; `true`, fractions and containers are no text."""
    assert fields.text(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [(3, 3), (3.0, 3), ("3", 3), (" -3 ", -3), (3.5, None), ("3.5", None), (True, None), (None, None), (2**60, None)],
)
def test_whole(sent: Any, read: int | None) -> None:
    """A whole number may come as text; a fraction is none."""
    assert fields.whole(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (True, True),
        (False, False),
        ("true", True),
        (" FALSE ", False),
        (1, True),
        (0, False),
        ("yes", None),
        (2, None),
        (None, None),
        ([], None),
    ],
)
def test_flag(sent: Any, read: bool | None) -> None:
    """Null is not false, and a word that nobody defined is neither."""
    assert fields.flag(sent) is read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (" Ji.Woo@Example.COM ", "Ji.Woo@Example.COM"),
        ("지우@example.com", "지우@example.com"),
        ("no address", None),
        ("a b@example.com", None),
        ("a@b@example.com", None),
        ("<a@example.com>", None),
        ("a@example.com\nBcc: b@example.com", None),
        ("@example.com", None),
        ("a@", None),
        ("x" * 250 + "@example.com", None),
        ("", None),
        (42, None),
        (None, None),
    ],
)
def test_email(sent: Any, read: str | None) -> None:
    """Space around an address is not part of it; what could not be an address is not sent as one."""
    assert fields.email(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("+15555550142", "+15555550142"),
        (" +15555550142 ", "+15555550142"),
        ("+1 555 555 0142", None),
        ("5555550142", None),
        ("+0155555501", None),
        ("+1234567890123456", None),
        (15555550142, None),
        (None, None),
    ],
)
def test_phone(sent: Any, read: str | None) -> None:
    """Only E.164 as it stands: a repaired number could be somebody else's."""
    assert fields.phone(sent) == read


@pytest.mark.parametrize(("sent", "read"), [("US", "US"), ("kr", "KR"), ("USA", None), ("", None), (1, None)])
def test_country(sent: Any, read: str | None) -> None:
    """ISO 3166-1 alpha-2 in upper case."""
    assert fields.country(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"), [("pro", "pro"), (3, 3), (0.5, 0.5), (False, False), ("", None), (None, None), ([1], None)]
)
def test_scalar(sent: Any, read: Any) -> None:
    """Metadata values keep their type; containers are none."""
    found = fields.scalar(sent)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("sent", [None, "x", 1, [], [1]])
def test_what_is_no_object_has_no_members(sent: Any) -> None:
    """A list where an object belongs reads as an empty object."""
    assert fields.members(sent) == {}


@pytest.mark.parametrize("sent", [None, "x", 1, {}, {"a": 1}])
def test_what_is_no_array_has_no_elements(sent: Any) -> None:
    """An object where an array belongs reads as an empty array."""
    assert fields.elements(sent) == []
