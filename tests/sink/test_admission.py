"""What may go into a batch."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.batch import join
from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.sink.admission import fault_of, is_barrier


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{}", b'{"a":1},{"b":2}', b'{"x":[{}', b"{}]}", b" {} "])))
def test_admitted_values_keep_their_index(values: list[bytes]) -> None:
    """Whatever is admitted is one element of the batch, so an index in an answer means the record that was sent."""
    admitted = [value for value in values if fault_of(value) is None]
    batch = orjson.loads(join(admitted))["batch"]
    assert batch == [orjson.loads(value) for value in admitted]


@pytest.mark.parametrize(
    ("value", "class_"),
    [
        (None, "unreadable"),
        (b"", "unreadable"),
        (b"null", "unreadable"),
        (b'"{}"', "unreadable"),
        (b"[{}]", "unreadable"),
        (b"{} {}", "unreadable"),
        (b'{"a":NaN}', "unreadable"),
        (b'{"a":"\xff"}', "unreadable"),
        (b'{"a":"' + b"x" * ITEM_MAX_BYTES + b'"}', "oversize"),
        (b"\xff" * (ITEM_MAX_BYTES + 1), "oversize"),
    ],
)
def test_faults(value: bytes | None, class_: str) -> None:
    """What cannot be an operation has a class and a reason that quotes nothing of it."""
    fault = fault_of(value)
    assert fault is not None
    assert fault.class_ == class_
    assert "xx" not in fault.reason


def test_largest() -> None:
    """An operation of exactly the largest size is admitted."""
    frame = len(b'{"a":""}')
    assert fault_of(b'{"a":"' + b"x" * (ITEM_MAX_BYTES - frame) + b'"}') is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], False),
        ([("op-id", b"1")], False),
        ([("op-id", b"1"), ("barrier", b"1")], True),
        ([("Barrier", b"1")], True),
        ([("barrier", b"yes")], True),
        ([("barrier", b"0")], False),
        ([("barrier", b"")], False),
        ([("carrier", b"1")], False),
    ],
)
def test_barrier(headers: list[tuple[str, bytes]], *, expected: bool) -> None:
    """The header's name is matched in any case; only an explicit no is none."""
    assert is_barrier(headers) is expected
