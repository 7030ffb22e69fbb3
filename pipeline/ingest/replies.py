"""The HTTP answers of the webhook path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import orjson

from pipeline.ingest.records import MAX_BODY_BYTES

READ_WITHIN_S: Final = 5.0
"""A body must arrive within this. With the store's `STORE_WITHIN_S` it stays below the 15 s after which Dodo gives up,
so that Dodo hears an answer and not a silence."""

RETRY_AFTER_S: Final = 5
"""Dodo's own second attempt comes after 5 s; a broker's failover takes about as long."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to be sent."""

    status: int
    body: bytes
    fields: bytes
    """The headers as they leave, but for Connection."""
    close: bool

    @classmethod
    def of(cls, status: int, error: str | None = None, *, close: bool = False, retry: bool = False) -> Self:
        """`{}` or `{"error": …}` as JSON; `close` ends the connection, `retry` sets Retry-After."""
        body = b"{}" if error is None else orjson.dumps({"error": error})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if retry:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
        fields = b"".join(b"%s: %s\r\n" % header for header in headers)
        return cls(status, body, fields, close)


STORED: Final = Reply.of(200)
TOO_LARGE: Final = Reply.of(413, f"the body is larger than {MAX_BODY_BYTES} bytes", close=True)
TOO_SLOW: Final = Reply.of(408, f"the body did not arrive within {READ_WITHIN_S:.0f} s", close=True)
OVERLOADED: Final = Reply.of(503, "too much at once; try again", close=True, retry=True)
UNAVAILABLE: Final = Reply.of(503, "Kafka did not confirm in time; try again", retry=True)
STOPPING: Final = Reply.of(503, "stopping; try again", close=True, retry=True)
