"""Whether a refusal speaks of the operation."""

from __future__ import annotations

import orjson
import pytest

from pipeline.customerio.fields import names_field_of
from pipeline.customerio.outcomes import Refusal

OPERATION = orjson.dumps(
    {
        "type": "person",
        "identifiers": {"id": "cus_1"},
        "action": "event",
        "name": "e",
        "attributes": {"plan": "x", "a.b": {"c.d": 1}, "list": [1]},
    }
)


@pytest.mark.parametrize(
    ("field", "reason", "named"),
    [
        ("name", "invalid", True),
        ("identifiers.id", "invalid", True),
        ("attributes.plan", "invalid", True),
        ("attributes.a.b", "invalid", True),
        ("attributes.a.b.c.d", "invalid", True),
        ("attributes.other; attributes.plan", "invalid", True),
        ("attributes.other", "invalid", False),
        ("attributes.plan.deeper", "invalid", False),
        ("attributes.list.0", "invalid", False),
        ("primary.id", "required", False),
        ("identifiers.email", "required", True),
        ("timestamp", "required", True),
        ("timestamp", "invalid", False),
        ("batch", "required", False),
        ("", "invalid", False),
        (None, "required", False),
        (".", "invalid", False),
        ("timestamp", None, False),
    ],
)
def test_names_field_of(field: str | None, reason: str | None, named: bool) -> None:
    """A field counts that the operation has, or lacks and must have; not one of the request or of another one."""
    assert names_field_of(Refusal(reason, field, "m", 400), OPERATION) is named


@pytest.mark.parametrize("operation", [b'{"n":', b'{"n":1},{"n":2}', b"", b"\xff", b'"name"', b"[1]", b"[" * 5_000])
@pytest.mark.parametrize("field", ["batch", "name", "", None])
def test_what_is_no_operation(field: str | None, operation: bytes) -> None:
    """Bytes that are no JSON object are at fault themselves, whatever the answer to them names."""
    assert names_field_of(Refusal("invalid", field, "malformed JSON", 400), operation)


@pytest.mark.parametrize(("last", "named"), [("a", True), ("b", False)])
def test_as_deep_as_can_be_parsed(last: str, named: bool) -> None:
    """A field of an operation that is nested without end is found, or not, and ends nothing."""
    levels = 1_020
    operation = b'{"a":' * levels + b"1" + b"}" * levels
    field = ".".join(["a"] * (levels - 1) + [last])
    assert names_field_of(Refusal("invalid", field, "too deep", 400), operation) is named


def test_a_path_longer_than_the_operation() -> None:
    """A path of a megabyte of dots is none of the operation's, and its parts are not tried one by one to see that."""
    assert not names_field_of(Refusal("required", "a" + "." * 1_000_000, "is required", 400), OPERATION)
