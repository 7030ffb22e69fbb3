"""Answers are framed as HTTP/1.1 asks, whatever the application says."""

from __future__ import annotations

import json

import pytest

from pipeline.http.answers import error_of, fields_of, status_line


@pytest.mark.parametrize(
    ("status", "headers", "text", "closes"),
    [
        (200, [(b"content-length", b"2")], b"content-length: 2\r\n", False),
        (200, [(b"content-type", b"text/plain")], b"content-type: text/plain\r\n", True),
        (204, [], b"", False),
        (304, [(b"etag", b"x")], b"etag: x\r\n", False),
        (200, [(b"connection", b"Close"), (b"content-length", b"0")], b"content-length: 0\r\n", True),
        (200, [(b"connection", b"keep-alive"), (b"content-length", b"0")], b"content-length: 0\r\n", False),
    ],
)
def test_what_ends_the_connection(
    status: int, headers: list[tuple[bytes, bytes]], text: bytes, *, closes: bool
) -> None:
    """A body without a length ends with the connection; `connection` is the server's own to write."""
    assert fields_of(status, headers) == (text, closes)


def test_a_status_without_a_phrase() -> None:
    """A known status has its phrase, any other none."""
    assert (status_line(503), status_line(299)) == (b"HTTP/1.1 503 Service Unavailable\r\n", b"HTTP/1.1 299 -\r\n")


@pytest.mark.parametrize("retry", [False, True])
def test_an_error_is_json(retry: bool) -> None:
    """Whatever the text holds, the body is JSON of the length that is named; `Retry-After` only where asked for."""
    headers, body = error_of('a "quoted" \\ text, naïve', retry=retry)
    assert json.loads(body) == {"error": "a 'quoted'  text, na?ve"}
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    assert (b"retry-after" in dict(headers)) is retry
