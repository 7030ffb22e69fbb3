"""Reading bodies without trusting their length."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.body import (
    DRAIN_FACTOR,
    BodyTooLargeError,
    ClientGoneError,
    OverloadedError,
    declared_length,
    read_body,
)
from pipeline.ingest.memory import Lease, Memory

LIMIT = 100


class Connection:
    """ASGI's `receive` over given parts; counts what was taken."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        self.parts = list(parts)
        self.ends = ends
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        """The next message."""
        if not self.parts:
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        self.taken += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts) or not self.ends}


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=10))
async def test_parts_are_joined(parts: list[bytes]) -> None:
    """A body in parts is the same body; past the limit, in whatever part, it is refused."""
    body = b"".join(parts)
    if len(body) <= LIMIT:
        assert await read_body(Connection(*parts), LIMIT, lambda _: True) == body
    else:
        with pytest.raises(BodyTooLargeError):
            await read_body(Connection(*parts), LIMIT, lambda _: True)


async def test_the_limit_itself_is_allowed() -> None:
    """Exactly the limit passes, one byte more does not."""
    assert len(await read_body(Connection(b"x" * LIMIT), LIMIT, lambda _: True)) == LIMIT
    with pytest.raises(BodyTooLargeError):
        await read_body(Connection(b"x" * (LIMIT + 1)), LIMIT, lambda _: True)


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    """After the limit a bounded rest is thrown away, then the reading ends."""
    connection = Connection(*[b"x" * 50] * 1000)
    with pytest.raises(BodyTooLargeError):
        await read_body(connection, LIMIT, lambda _: True)
    assert connection.taken <= LIMIT * (DRAIN_FACTOR + 1) + 100


async def test_hanging_up_is_told_apart() -> None:
    """A connection that ends before its body is no empty body."""
    with pytest.raises(ClientGoneError):
        await read_body(Connection(b"half", ends=False), LIMIT, lambda _: True)


async def test_no_memory_ends_the_reading() -> None:
    """When the bound on all bodies is reached, a part is refused; giving back makes room again."""
    memory = Memory(limit_bytes=60)
    with Lease(memory) as first, Lease(memory) as second:
        assert await read_body(Connection(b"x" * 50), LIMIT, first.take)
        with pytest.raises(OverloadedError):
            await read_body(Connection(b"x" * 50), LIMIT, second.take)
    assert memory.held_bytes == 0
    with Lease(memory) as third:
        assert await read_body(Connection(b"x" * 50), LIMIT, third.take)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("900001", 900001),
        (None, None),
        ("", None),
        ("-1", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 30, None),
    ],
)
def test_a_declared_length_is_a_number_or_nothing(value: str | None, length: int | None) -> None:
    """What is no plain number is treated as not declared."""
    assert declared_length(value) == length
