"""Parses a request's head with llhttp (httptools), and finds how its body is delimited.

Each head has its own parser, which gets the head's bytes only. So a request to upgrade the protocol, which llhttp
obeys, is ignored (RFC 9110 §7.8 allows that), and a trailer never becomes a header field.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import httptools

from pipeline.http.limits import HEADERS

VERSIONS: Final = ("1.1", "1.0")


class HeadError(Exception):
    """The head cannot be accepted; the text is the reason, without a byte of the head."""

    status = 400


class HeadTooLargeError(HeadError):
    """The head is larger than the limits (RFC 6585 §5)."""

    status = 431


class Head:
    """One head, complete or not.

    Attributes:
        complete: whether its last byte was fed; only then are the others valid.
        length: of the body; None when the body is chunked.
        keep_alive: whether the client wants to keep the connection.
        expects_continue: whether it waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
        parser: the one that feeds this head, only while it does: a ring of the two would stay in memory until the
            collector comes by.
    """

    __slots__ = (
        "_coding", "_url", "complete", "expects_continue", "headers", "keep_alive", "length", "method", "parser",
        "path", "query", "raw_path", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        self._url = b""
        self._coding: bytes | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = 0
        self.parser: Any = None
        self.complete = self.keep_alive = self.expects_continue = False
        self.method = self.path = self.version = ""
        self.raw_path = self.query = b""

    def on_url(self, url: bytes) -> None:
        """Called by llhttp with a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp with a field; blanks around its value are no part of it (RFC 9110 §5.5)."""
        name, value = name.lower(), value.strip(b" \t")
        headers = self.headers
        headers.append((name, value))
        if name in SPECIAL:
            if name == b"content-length":
                self.length = int(value)  # llhttp accepts only digits, and the field only once
            elif name == b"expect":
                self.expects_continue = value.lower() == b"100-continue"
            else:
                self._coding = value.lower() if self._coding is None else self._coding + b"," + value.lower()
        if len(headers) > HEADERS:
            raise HeadTooLargeError(f"more than {HEADERS} header fields")

    def on_headers_complete(self) -> None:
        """Called by llhttp at the head's end; later it has forgotten whether the connection is kept."""
        parser = self.parser
        self.version = parser.get_http_version()
        if self.version not in VERSIONS:
            raise HeadError("not HTTP/1.1 or HTTP/1.0")
        if self._coding is not None:
            if self._coding != b"chunked":
                raise HeadError("a transfer coding other than chunked")
            if self.version == "1.0":  # RFC 9112 §6.1: faulty framing
                raise HeadError("a transfer coding in HTTP/1.0")
            self.length = None
        self.keep_alive = self.version == "1.1" and parser.should_keep_alive()
        self.method = parser.get_method().decode("ascii")
        self._locate(self._url)
        self.complete = True

    def _locate(self, url: bytes) -> None:
        if url[:1] == b"/":  # the usual form; two slashes are no authority here (RFC 9112 §3.2.1)
            raw_path, _, self.query = url.partition(b"#")[0].partition(b"?")
        elif url == b"*":
            raw_path = url
        else:
            try:
                parsed: Any = httptools.parse_url(url)
            except httptools.HttpParserInvalidURLError:
                raise HeadError("the target is no path and no URL") from None
            raw_path, self.query = parsed.path or b"/", parsed.query or b""
        self.raw_path = raw_path
        path = raw_path.decode("latin-1")
        self.path = unquote(path) if "%" in path else path


class HeadParser:
    """The parser of one head."""

    __slots__ = ("_parser", "head")

    def __init__(self) -> None:
        self.head = Head()
        self._parser = httptools.HttpRequestParser(self.head)

    def feed(self, piece: bytes) -> None:
        """Parse the next bytes, none of them after the head's end.

        Raises:
            HeadError: it is not a head, or cannot be accepted.
        """
        self.head.parser = self._parser
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # the head ends here, and the connection stays HTTP/1.1
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, HeadError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise HeadError(f"no HTTP request: {error}") from None
        finally:
            self.head.parser = None


SPECIAL: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
