"""What the store is told of facts."""

from __future__ import annotations

import pytest

from pipeline.transform.customers.schema import leaves_remains


@pytest.mark.parametrize(
    ("key", "value", "leaves"),
    [
        (b"cus_1\0payment\0p", None, True),
        (b"cus_1\0identity\0", None, True),
        (b"cus_1\0event\0ULID", None, False),
        (b"cus_1\0payment\0p", b'[1,"USD","",null,null,false,"webhook",[],null]', False),
        (b"person:00\0share\0cus_1", b"[3,null]", True),
        (b"person:00\0share\0cus_1", b'[3,{"contact":["a",null,null,null],"metadata":{}}]', False),
    ],
)
def test_what_leaves_remains(key: bytes, value: bytes | None, leaves: bool) -> None:
    """Facts that are taken away and shares that are taken back; not the pruning of old events, all day long."""
    assert leaves_remains(key, value) is leaves
