"""A chunked body (RFC 9112 §7.1): grammar by llhttp, steps by us.

llhttp does not return where a message ends in the bytes that it was given, and collects trailers without a bound. So it
gets one line, or one chunk's data, at a time; what is read of a chunk's size has passed its grammar before. When the
two are not at the same place, the body is refused.
"""

from __future__ import annotations

from typing import Final

import httptools

from pipeline.http.body import BodyIncompleteError, BodyTooLargeError
from pipeline.http.limits import FRAMING_BYTES

LINE_BYTES: Final = 4096
"""One chunk's size with its extensions, or one trailer field, or what has come of it."""

PREFACE: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class Chunks:
    """One body. `complete` when its last byte was fed."""

    __slots__ = ("_data", "_ended", "_framing", "_last", "_limit", "_line", "_parser", "body", "complete")

    def __init__(self, limit_bytes: int) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(PREFACE)
        self._limit = limit_bytes
        self._line = b""
        self._data = 0  # bytes of the present chunk that are still to come, its line end included
        self._last = self._ended = False
        self._framing = 0
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        """Data of a chunk."""
        self.body += data

    def on_message_complete(self) -> None:
        """The blank line behind the trailer."""
        self._ended = True

    def feed(self, data: bytes) -> bytes:
        """Take in the next bytes, and return those behind the body's end.

        Raises:
            BodyIncompleteError: this is no chunked body.
            BodyTooLargeError: it, or what it is wrapped in, is.
        """
        try:
            return self._steps(data)
        except httptools.HttpParserError as error:
            raise BodyIncompleteError(f"no chunked body: {error}") from None

    def _steps(self, data: bytes) -> bytes:
        place, end = 0, len(data)
        while place < end:
            if self._data:
                piece = data[place : place + self._data]
                self._parser.feed_data(piece)
                self._data -= len(piece)
                place += len(piece)
                continue
            feed = data.find(b"\n", place)
            line = data[place:] if feed < 0 else data[place : feed + 1]
            place += len(line)
            self._line += line
            self._framing += len(line)
            if self._framing > FRAMING_BYTES + len(self.body) // 8 or len(self._line) > LINE_BYTES:
                raise BodyTooLargeError("chunk sizes, extensions and trailers are larger than what they wrap")
            if feed < 0:
                break
            line, self._line = self._line, b""
            self._parser.feed_data(line)
            if self._ended:
                self.complete = True
                return data[place:]
            if not self._last:
                self._begin(int(line.partition(b";")[0], 16))
        return b""

    def _begin(self, size: int) -> None:
        if size == 0:
            self._last = True
            return
        if len(self.body) + size > self._limit:
            raise BodyTooLargeError(f"the body is larger than {self._limit} bytes")
        self._data = size + 2
        self._framing += 2
