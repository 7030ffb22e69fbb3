"""A request's body, whole, or why it is not there."""

from __future__ import annotations

from typing import Final

from starlette.types import Receive


class BodyError(Exception):
    """It did not arrive whole. An application that does not catch it has it answered with `status` and this text.

    Attributes:
        status: the HTTP status; None when nobody is left to hear one.
        retry: whether the same request may succeed later.
    """

    status: int | None = 400
    retry = False


class BodyTooLargeError(BodyError):
    """It is longer than the limit, whatever its Content-Length."""

    status = 413


class BodyTooSlowError(BodyError):
    """It was not complete in time."""

    status = 408


class BodyIncompleteError(BodyError):
    """The client ended the body, and has sent less than it declared, or no proper chunks."""

    status = 400


class ClientGoneError(BodyError):
    """The connection ended before the body was complete."""

    status = None


class OverloadedError(BodyError):
    """There is no memory for it now."""

    status = 503
    retry = True


RETRY_AFTER_S: Final = 5
"""Dodo's own second attempt comes after 5 s."""


async def whole_body(receive: Receive) -> bytes:
    """The body, from our server in one piece, from another in any.

    Raises:
        BodyError: it did not arrive.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("hung up before the body was complete")
        part: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)
