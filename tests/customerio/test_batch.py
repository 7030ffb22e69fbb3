"""A batch is its items byte for byte, and its size follows from theirs."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.batch import SEPARATOR, WRAPPER_BYTES, join

ITEMS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40)).map(orjson.dumps), max_size=30)


@given(ITEMS)
def test_body_is_the_items_in_order(items: list[bytes]) -> None:
    """Parsing the body gives the items back, and every item's bytes are in it unchanged."""
    body = join(items)
    assert orjson.loads(body) == {"batch": [orjson.loads(item) for item in items]}
    assert all(item in body for item in items)


@given(ITEMS.filter(bool))
def test_size_follows_from_the_items(items: list[bytes]) -> None:
    """Wrapper, items and a separator between them are all there is: sizes can be counted before joining."""
    assert len(join(items)) == WRAPPER_BYTES + sum(len(SEPARATOR) + len(item) for item in items) - len(SEPARATOR)
