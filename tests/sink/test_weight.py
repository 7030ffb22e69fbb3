"""What a record weighs: all that it holds counts, whoever wrote it and wherever it lies in the record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from sys import getsizeof
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.weight import RECORD_OVERHEAD_BYTES, SHORT_BYTES, USUAL_HEADERS, sent_bytes, weights
from tests.records import Consumed
from tests.sink.conftest import consumed

Virtual = Callable[[Any], Any]

MEGABYTE = 1_000_000

OURS = (
    ("checked", b"700:5bdc0fda:more"),
    ("op-id", b"01K6ZTR8Q5V8Z2M2Y3N6W4X1AB"),
    ("webhook-id", b"msg_2xKcVvAcKGEd0f8YmAGZkfN6uvq"),
    ("dodo-type", b"subscription.plan_changed"),
    ("event-time", b"1790000000000"),
    ("received-at", b"1790000000000"),
    ("source", b"dodo.webhooks/11/1234567"),
    ("identity", b"9f86d081884c7d659a2feaa0c55ad015"),
    ("identity-of", b"cus_Vq9B0pQd2mZ7rT4kXyL1s"),
    ("barrier", b"1"),
)

LARGE = [
    pytest.param(b"ann", (("x", bytes(MEGABYTE)),), id="a header"),
    pytest.param(b"ann", (("x" * MEGABYTE, b""),), id="a header's name"),
    pytest.param(b"ann", (*OURS, ("x", bytes(MEGABYTE))), id="a header behind ours"),
    pytest.param(b"ann", (("x", bytes(80)),) * 15_000, id="many headers"),
    pytest.param(b"a" * MEGABYTE, (), id="a key"),
]
"""A record's key and headers."""


@pytest.mark.parametrize(("key", "headers"), LARGE)
def test_small_values_with_a_large_rest_fill_the_memory(
    virtual: Virtual, api: Any, make: Any, key: bytes, headers: Any
) -> None:
    """While Customer.io is down no more of them are taken in than the memory is for, and afterwards all are sent."""
    api.last = api.status(503)
    rig = make.rig(api, memory_bytes=10 * MEGABYTE)

    async def scenario() -> None:
        async with rig:
            taking = asyncio.create_task(
                rig.take(*(consumed(n, key, make.operation("ann", n), headers) for n in range(20)))
            )
            await asyncio.sleep(30)
            assert not taking.done()
            assert rig.sink.memory.taken_bytes <= 10 * MEGABYTE
            api.last = api.ok
            await taking
            await rig.settled()
            assert rig.sink.memory.taken_bytes == 0

    virtual(scenario())
    assert rig.acked[0][-1] == 19


def test_ours_weigh_what_was_measured() -> None:
    """The headers of the transform's records are a part of the overhead, and nothing is added for them."""
    records = [consumed(0, b"cus_1", b"x" * 700, OURS), consumed(1, None, None)]
    assert weights(records) == [700 + RECORD_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES]


HEADER = st.tuples(st.text(max_size=2 * SHORT_BYTES), st.none() | st.binary(max_size=2 * SHORT_BYTES))


@given(
    st.none() | st.binary(max_size=2 * SHORT_BYTES),
    st.none() | st.binary(max_size=5_000),
    st.lists(HEADER, max_size=3 * USUAL_HEADERS),
)
def test_nothing_holds_many_times_its_weight(key: bytes | None, value: bytes | None, headers: Any) -> None:
    """However the bytes are spread over a record, a budget of weights bounds what is held to a small multiple."""
    (weight,) = weights([Consumed(value, tuple(headers), key)])
    parts = [key, value, *headers, *(part for pair in headers for part in pair)]
    assert sum(getsizeof(part) for part in parts) <= 4 * weight


def test_what_is_sent_has_all_parts() -> None:
    """Value, key, and each header's name and value; what is null has no bytes."""
    nothing: Any = ("empty", None)
    assert sent_bytes(consumed(0, b"key", b"value", (("name", b"12"), nothing))) == 3 + 5 + 6 + 5
    assert sent_bytes(consumed(0, None, None)) == 0
