"""Who may use the sandbox, whatever stands in the header."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.sandbox.auth import is_authorized


def basic(pair: bytes) -> str:
    """The header of a pair."""
    return "Basic " + base64.b64encode(pair).decode()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (basic(b"site:key"), True),
        (basic(b"site:key").replace("Basic", "bASIC"), True),
        (basic(b"site:other"), False),
        (basic(b"site"), False),
        (basic(b"\xff:key"), False),
        ("Basic \x80", False),
        ("Basic c2l0ZTprZXk", False),
        ("Bearer c2l0ZTprZXk=", False),
        ("Basic", False),
        ("", False),
        (None, False),
    ],
)
def test_is_authorized(header: str | None, accepted: bool) -> None:
    """The pair alone is accepted; what is no pair is refused, never an error."""
    assert is_authorized(header, site_id="site", api_key="key") is accepted


@given(st.text(st.characters(max_codepoint=255)))
def test_any_header(encoded: str) -> None:
    """Whatever bytes a header can have, the answer is yes or no."""
    assert is_authorized(f"Basic {encoded}", site_id="site", api_key="key") in {True, False}
