"""Command records as the workers will find them."""

from __future__ import annotations

import orjson
import pytest

from pipeline.backfill.commands import backfill_record, forget_record, key_of
from pipeline.errors import InputError


def test_backfill_record() -> None:
    """Key, headers and value are those of the contract; the object is as it was read."""
    data = {"payment_id": "pay_1", "total_amount": 100, "note": "한지우"}
    record = backfill_record("payment", "pay_1", data, "cus_1", read_at_s=1_790_000_000)
    assert record.key == b"cus_1"
    assert record.headers == (
        ("dodo-command", b"backfill"),
        ("webhook-id", b"backfill_payment_pay_1"),
        ("webhook-timestamp", b"1790000000"),
        ("dodo-mode", b"live"),
    )
    assert record.value is not None
    assert orjson.loads(record.value) == {
        "command": "backfill",
        "object": "payment",
        "data": data,
        "customer_id": "cus_1",
        "read_at": 1_790_000_000,
        "emit_identify": False,
        "revive": False,
    }


def test_forget_record() -> None:
    """Two requests about one customer are two commands of one form."""
    first, second = (forget_record("cus_1", customerio="delete", at_s=1_790_000_000) for _ in range(2))
    assert first.value == second.value
    assert first.headers != second.headers
    assert dict(first.headers)["webhook-id"].startswith(b"forget_")
    assert first.value is not None
    assert orjson.loads(first.value) == {
        "command": "forget",
        "customer_id": "cus_1",
        "customerio": "delete",
        "at": 1_790_000_000,
    }


@pytest.mark.parametrize("customer_id", ["", " ", "a\0b", "c" * 256, "한" * 86])
def test_no_customers(customer_id: str) -> None:
    """An id that cannot have a state is refused before anything is sent."""
    with pytest.raises(InputError, match="1 to 255 bytes"):
        key_of(customer_id)
