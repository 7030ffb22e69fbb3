"""Reading a request's body without trusting what it says about its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.types import Receive

DRAIN_FACTOR: Final = 8
"""How many times the cap is read and thrown away after an oversized body was found, so that an honest client gets to
read the answer: closing a socket with unread data resets the connection before it can."""


class BodyTooLargeError(Exception):
    """It is longer than the cap, whatever its Content-Length said."""


class ClientGoneError(Exception):
    """The client hung up before the body was complete."""


class OverloadedError(Exception):
    """There is no memory for it now."""


def declared_length(value: str | None) -> int | None:
    """A Content-Length header as a number; None when there is none or it is not one."""
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 20 else None  # noqa: PLR2004 - digits of a 64-bit number


async def read_body(receive: Receive, limit_bytes: int, take: Callable[[int], bool]) -> bytes:
    """The whole body.

    Args:
        receive: ASGI's.
        limit_bytes: most that is kept; checked while reading, since a length can be absent or a lie.
        take: asked for memory before each part is kept; false ends the reading.

    Raises:
        BodyTooLargeError: past the limit; the rest, up to a bound, was read and thrown away.
        ClientGoneError: the connection ended first.
        OverloadedError: no memory was given.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            parts.clear()
            await drain(receive, limit_bytes * DRAIN_FACTOR, more=message.get("more_body", False))
            raise BodyTooLargeError
        if not take(len(part)):
            raise OverloadedError
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


async def drain(receive: Receive, most_bytes: int, *, more: bool = True) -> None:
    """Read and throw away the rest of a body, `most_bytes` at most."""
    while more and most_bytes > 0:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        most_bytes -= len(message.get("body", b""))
        more = message.get("more_body", False)
