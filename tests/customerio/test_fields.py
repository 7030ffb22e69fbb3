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
