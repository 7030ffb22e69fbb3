"""Receipts remember what was put back, and are never taken for letters or letters for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters.letter import IDENTITY_BYTES
from pipeline.deadletters.receipts import NEVER, History, PutBack, read_receipt, receipt

SCHEMAS = Path(__file__).parents[2] / "topics" / "schemas"

identities = st.lists(st.binary(min_size=IDENTITY_BYTES, max_size=IDENTITY_BYTES), min_size=1, max_size=20)


@given(identities, st.integers(0, 10**13))
def test_round_trip(lying: Any, named: list[bytes], at_ms: int) -> None:
    """What was noted is read back, in order; the record has a key, as compacted topics ask for."""
    out = receipt(named, at_ms)
    assert out.key
    assert read_receipt(lying(key=out.key, value=out.value, headers=out.headers)) == tuple(named)


@given(identities, st.integers(0, 10**13))
def test_it_is_what_the_contract_says(named: list[bytes], at_ms: int) -> None:
    """Header and value fit the schemas of the topics' contract, so other readers can tell it from a letter."""
    out = receipt(named, at_ms)
    value = orjson.loads(out.value or b"")
    headers = {name: text.decode() for name, text in out.headers}
    for path, instance in (("receipt.json", value), ("headers/receipt.json", headers)):
        schema = orjson.loads((SCHEMAS / path).read_bytes())
        jsonschema.Draft202012Validator(schema).validate(instance)
        assert set(instance) == set(schema["properties"])


def test_history(lying: Any) -> None:
    """It counts how often each letter was put back, and knows the last time; of others it knows nothing."""
    first, second, third = (bytes([n]) * IDENTITY_BYTES for n in range(3))
    history = History()
    for named, at_ms in (([first, second], 50), ([first], 70), ([first], 60)):
        out = receipt(named, at_ms)
        assert history.add(lying(value=out.value, headers=out.headers))
    assert history.of(first) == PutBack(3, 70)
    assert history.of(second) == PutBack(1, 50)
    assert history.of(third) == NEVER


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"put_back": 7}',
        b'{"put_back": [7]}',
        b'{"put_back": ["zz"]}',
        b'{"put_back": ["ab"]}',
    ],
)
def test_malformed(lying: Any, value: bytes | None) -> None:
    """A malformed receipt is none: it is listed as a record that should not be there, and hides no letter."""
    history = History()
    assert not history.add(lying(value=value, headers=(("dlq-put-back", b"1"),)))


def test_a_letter_is_no_receipt(make: Any) -> None:
    """Not even one whose record carries the header of a receipt."""
    value = receipt([b"\0" * IDENTITY_BYTES], 1).value
    record, _ = make(value=value, headers=(("dlq-put-back", b"1"),))
    assert read_receipt(record) is None
    assert read_receipt(make()[0]) is None
