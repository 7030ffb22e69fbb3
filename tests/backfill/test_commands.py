"""Command records as the workers will find them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from pipeline.backfill.commands import OBJECTS, backfill_record, forget_record, key_of
from pipeline.errors import InputError
from pipeline.kafka.records import OutRecord

TOPICS = Path(__file__).parents[2] / "topics"


def schema(name: str) -> jsonschema.Draft202012Validator:
    """The validator of `topics/schemas/<name>.json`."""
    return jsonschema.Draft202012Validator(json.loads((TOPICS / "schemas" / f"{name}.json").read_text()))


COMMANDS: list[Callable[[], OutRecord]] = [
    *(lambda name=name: backfill_record(name, "x_1", {}, "cus_1", read_at_s=1) for name in OBJECTS.values()),
    lambda: backfill_record("customer", "cus_1", {}, "cus_1", read_at_s=1, emit_identify=True, revive=True),
    lambda: forget_record("cus_1", customerio=None, at_s=1),
    lambda: forget_record("cus_1", customerio="delete", at_s=1),
    lambda: forget_record("cus_1", customerio="suppress", at_s=1),
]


@pytest.mark.parametrize("make", COMMANDS)
def test_commands_are_those_of_the_contract(make: Callable[[], OutRecord]) -> None:
    """Every command fits the schemas of the topics' contract, headers and value."""
    record = make()
    assert record.value is not None
    schema("command").validate(orjson.loads(record.value))
    headers = {name: value.decode() for name, value in record.headers}
    schema("headers/command").validate(headers)
    assert headers["dodo-command"] == orjson.loads(record.value)["command"]


@pytest.mark.parametrize(
    "change", [{"command": "erase"}, {"customer_id": None}, {"read_at": "today"}, {"object": "payout"}, {"more": 1}]
)
def test_other_commands_do_not_fit(change: dict[str, Any]) -> None:
    """The contract refuses what the worker would not understand."""
    record = backfill_record("payment", "pay_1", {}, "cus_1", read_at_s=1)
    assert record.value is not None
    assert not schema("command").is_valid(orjson.loads(record.value) | change)


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
