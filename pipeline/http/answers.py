"""The bytes of answers, and the ASGI scope of a request: functions of values. `connection` decides when to send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.types import Scope

from pipeline.http.body import RETRY_AFTER_S
from pipeline.http.head import Head

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"connection: close\r\n"
STATUS: Final = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
BODYLESS: Final = frozenset({204, 304})

DROP: Final = "pipeline.drop"
"""ASGI extension: a callable that cuts the connection."""

ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class Fields(NamedTuple):
    """Header fields as bytes, without the empty line; `closes`: the connection must end with this answer."""

    text: bytes
    closes: bool


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK`; without a phrase for a status that has none."""
    return STATUS.get(status) or b"HTTP/1.1 %d -\r\n" % status


def fields_of(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The application's header fields except `connection`, which only the server sets."""
    parts: list[bytes] = []
    closes = sized = False
    for name, value in headers:
        if name == b"connection":
            closes = closes or value.lower() == b"close"
            continue
        sized = sized or name == b"content-length"
        parts += (name, b": ", value, b"\r\n")
    if not sized and status not in BODYLESS:
        closes = True  # the end of the connection marks the end of the body (RFC 9112 §6.3)
    return Fields(b"".join(parts), closes)


def error_of(text: str, *, retry: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields and body of an error of the server's own; `retry` adds a Retry-After."""
    body = b'{"error": "%s"}' % text.encode("ascii", "replace").replace(b"\\", b"").replace(b'"', b"'")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if retry:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    return headers, body


def scope_of(head: Head, client: Any, server: Any, drop: Callable[[], None]) -> Scope:
    """The ASGI scope of a request; `drop` cuts its connection."""
    return {
        "type": "http",
        "asgi": ASGI,
        "http_version": head.version,
        "method": head.method,
        "path": head.path,
        "raw_path": head.raw_path,
        "root_path": "",
        "query_string": head.query,
        "scheme": "http",
        "headers": head.headers,
        "client": client,
        "server": server,
        "extensions": {DROP: drop},
    }
