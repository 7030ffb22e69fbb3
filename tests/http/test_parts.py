"""Parts of a body: what was read, in few objects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.http.parts import SMALL_BYTES, add


@given(st.lists(st.binary(min_size=1, max_size=3 * SMALL_BYTES), max_size=30))
def test_parts_are_what_was_read(pieces: list[bytes]) -> None:
    """Together they are all pieces in their order, and none but the last is small."""
    parts: list[bytes] = []
    for piece in pieces:
        add(parts, piece)
    assert b"".join(parts) == b"".join(pieces)
    assert [len(part) for part in parts[:-1] if len(part) < SMALL_BYTES] == []


def test_a_body_that_comes_byte_by_byte_is_no_object_a_byte() -> None:
    """Hundreds of thousands of reads are a part for each two thousand."""
    parts: list[bytes] = []
    for _ in range(100 * SMALL_BYTES):
        add(parts, b"x")
    assert len(parts) == 100
