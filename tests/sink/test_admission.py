"""What may go into a batch."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.customerio.batch import join
from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.vouching import MORE, word_for
from pipeline.kafka.fetched import FetchedRecord
from pipeline.sink.admission import admit, fault_of, is_barrier


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{}", b'{"a":1},{"b":2}', b'{"x":[{}', b"{}]}", b" {} "])))
def test_admitted_values_keep_their_index(values: list[bytes]) -> None:
    """Whatever is admitted is one element of the batch, so an index in an answer means the record that was sent."""
    admitted = [value for value in values if fault_of(value) is None]
    batch = orjson.loads(join(admitted))["batch"]
    assert batch == [orjson.loads(value) for value in admitted]


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=12)
            | st.sampled_from([b"{}", b"[]", b"}{", b'{"a":1},{"b":2}', b'{"x":[{}', b"{}]}  {}"]),
            st.sampled_from([b"{}", b'{"a":1}', b'{"a":12}', b'{"a":123456789}']),
            st.sampled_from([b"", MORE]),
        )
    )
)
def test_a_copied_word_admits_nothing_else(records: list[tuple[bytes, bytes, bytes]]) -> None:
    """Whatever operation's word stands beside a value, what is admitted is one element of the batch."""
    admitted = [
        value
        for value, other, more in records
        if admit(FetchedRecord("t", 0, 0, 0, 0, None, value, [("checked", word_for(other) + more)])).fault is None
    ]
    batch = orjson.loads(join(admitted))["batch"]
    assert batch == [orjson.loads(value) for value in admitted]
    assert all(value in admitted for value, other, _ in records if value == other)


@pytest.mark.parametrize("value", [b"\xff", b"[1]", b"x" * ITEM_MAX_BYTES, b"x" * (ITEM_MAX_BYTES + 1)])
@pytest.mark.parametrize("name", ["checked", "Checked"])
def test_vouched(value: bytes, name: str) -> None:
    """A value's own word is believed, under a name in any case, but for what is too large to be sent."""
    record = FetchedRecord("t", 0, 0, 0, 0, None, value, [("op-id", b"1"), (name, word_for(value))])
    assert (admit(record).fault is None) == (len(value) <= ITEM_MAX_BYTES)


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
