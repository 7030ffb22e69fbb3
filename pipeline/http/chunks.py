"""Parses a chunked body (RFC 9112 §7.1): llhttp checks the grammar, this module finds the chunks' ends.

llhttp does not return where a message ends in the bytes that it was given, and collects trailers without a bound. So it
gets one line, or one chunk's data, at a time; a chunk's size is read here only after llhttp accepted its line. If the
two disagree about the place in the body, it is refused.
"""

from __future__ import annotations

from typing import Final

import httptools

from pipeline.http.body import BodyIncompleteError, BodyTooLargeError
from pipeline.http.limits import FRAMING_BYTES
from pipeline.http.parts import add

LINE_BYTES: Final = 4096
"""Most bytes of a line: one chunk's size with its extensions, or one trailer field, complete or not."""

PREFACE: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class _Pieces:
    """What llhttp calls. It refers to no parser: a ring of the two would keep the body until the collector comes by."""

    __slots__ = ("ended", "found", "size")

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.size = 0
        self.ended = False

    def on_body(self, data: bytes) -> None:
        """Take data of a chunk."""
        self.found.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        """Note the blank line after the trailer."""
        self.ended = True


class Chunks:
    """The parser of one body.

    Attributes:
        parts: the body so far (`http/parts`): an array that grows beside hundreds of others leaves holes in the
            process's memory, of several times its size.
        complete: whether the body's last byte was fed.
    """

    __slots__ = ("_data", "_framing", "_last", "_limit", "_line", "_parser", "_pieces", "complete", "parts")

    def __init__(self, limit_bytes: int) -> None:
        self._pieces = _Pieces()
        self._parser = httptools.HttpRequestParser(self._pieces)
        self._parser.feed_data(PREFACE)
        self._limit = limit_bytes
        self._line = b""
        self._data = 0  # bytes of the present chunk that are still to come, its line end included
        self._last = False
        self._framing = 0
        self.parts: list[bytes] = []
        self.complete = False

    @property
    def size(self) -> int:
        """Of the body so far, in bytes."""
        return self._pieces.size

    def feed(self, data: bytes) -> bytes:
        """Parse the next bytes; return those after the body's end.

        Raises:
            BodyIncompleteError: this is not a chunked body.
            BodyTooLargeError: the body, or its chunk sizes and trailers, are too large.
        """
        try:
            rest = self._steps(data)
        except httptools.HttpParserError as error:
            raise BodyIncompleteError(f"no chunked body: {error}") from None
        found = self._pieces.found
        if found:
            add(self.parts, b"".join(found))
            found.clear()
        return rest

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
            if self._framing > FRAMING_BYTES + self.size // 8 or len(self._line) > LINE_BYTES:
                raise BodyTooLargeError("chunk sizes, extensions and trailers are larger than what they wrap")
            if feed < 0:
                break
            line, self._line = self._line, b""
            self._parser.feed_data(line)
            if self._pieces.ended:
                self.complete = True
                return data[place:]
            if not self._last:
                self._begin(int(line.partition(b";")[0], 16))
        return b""

    def _begin(self, size: int) -> None:
        if size == 0:
            self._last = True
            return
        if self.size + size > self._limit:
            raise BodyTooLargeError(f"the body is larger than {self._limit} bytes")
        self._data = size + 2
        self._framing += 2
