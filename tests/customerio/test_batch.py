"""A batch is its items byte for byte, and its size is known beforehand."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.batch import Batch, join
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.errors import OversizeError

ITEMS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40)).map(orjson.dumps), max_size=30)


@given(ITEMS)
def test_body_is_the_items_in_order(items: list[bytes]) -> None:
    """Parsing the body gives the items back, and every item's bytes are in it unchanged."""
    body = join(items)
    assert orjson.loads(body) == {"batch": [orjson.loads(item) for item in items]}
    assert all(item in body for item in items)


@given(ITEMS, st.integers(1, 600))
def test_size_is_known_before_joining(items: list[bytes], max_bytes: int) -> None:
    """The counted size is the body's, and the budget is kept unless one item alone exceeds it."""
    batch = Batch(max_bytes)
    for item in items:
        if batch.fits(item):
            batch.add(item)
    assert len(batch.body()) == batch.size_bytes
    assert batch.size_bytes <= max_bytes or len(batch) <= 1
    assert bool(items) == bool(len(batch))


def test_body_stays_below_the_limit() -> None:
    """However large the items, a body has fewer than 500,000 bytes, whatever budget was asked for."""
    batch = Batch(10**9)
    item = b"x" * ITEM_MAX_BYTES
    while batch.fits(item):
        batch.add(item)
    filler = b"y" * (BODY_MAX_BYTES - batch.size_bytes - 1)
    batch.add(filler)
    assert len(batch.body()) == BODY_MAX_BYTES == 499_999
    with pytest.raises(OversizeError):
        batch.add(b"")
