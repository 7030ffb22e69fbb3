"""Words that vouch for bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.vouching import word_for


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_word_is_for_one_value(value: bytes, data: st.DataObject) -> None:
    """Whoever changes a byte, leaves one out or adds one has bytes for which the word does not stand."""
    at = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    changed = (
        value[:at] + bytes([other]) + value[at + 1 :],
        value[:at] + value[at + 1 :],
        value[:at] + bytes([other]) + value[at:],
    )
    assert word_for(value) not in {word_for(one) for one in changed}


def test_its_form() -> None:
    """The form is a contract with other builds: the length, and the Adler-32 of RFC 1950, 9 (its own example)."""
    assert word_for(b"Wikipedia") == b"9:11e60398"
