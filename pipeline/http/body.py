"""A request's body as a whole, or the error why it did not arrive."""

from __future__ import annotations

from typing import Final

from starlette.types import Receive


class BodyError(Exception):
    """The body did not arrive whole. If the application does not catch it, the answer is `status` with this text.

    Attributes:
        status: the HTTP status; None when the client is gone.
        retry: whether the same request may succeed later.
    """

    status: int | None = 400
    retry = False


class BodyTooLargeError(BodyError):
    """The body is longer than the limit, whatever its Content-Length."""

    status = 413


class BodyTooSlowError(BodyError):
    """The body was not complete in time."""

    status = 408


class BodyIncompleteError(BodyError):
    """The client ended the body, and has sent less than it declared, or no proper chunks."""

    status = 400


class ClientGoneError(BodyError):
    """The connection ended before the body was complete."""

    status = None


class OverloadedError(BodyError):
    """There is no memory for the body now."""

    status = 503
    retry = True


RETRY_AFTER_S: Final = 5
"""Dodo's own second attempt comes after 5 s."""


async def whole_body(receive: Receive) -> bytes:
    """The whole body: our server sends it in one piece, others in several.

    Raises:
        BodyError: it did not arrive whole.
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
