"""Reads and writes the header `traceparent` of W3C Trace Context. Does not import the SDK.

A trace id goes into a log line only where a record is named already, and only if the trace is sampled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.kafka.records import TRACEPARENT, header

FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{0,450})?")
"""W3C Trace Context §3.2.2; later versions may append fields, version 00 may not."""

LENGTH: Final = len("00-") + 32 + 1 + 16 + 3
SAMPLED: Final = 1


class Parent(NamedTuple):
    """The parent of the next span."""

    trace_id: int
    span_id: int
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether its trace is recorded."""
        return bool(self.flags & SAMPLED)


def is_valid(text: str) -> bool:
    """Whether this may be passed on as a `traceparent`."""
    return FORM.fullmatch(text) is not None and (text[:2] != "00" or len(text) == LENGTH)


def parse(text: str) -> Parent | None:
    """The parent in the header; None for a text that is not a `traceparent`."""
    if not is_valid(text):
        return None
    return Parent(int(text[3:35], 16), int(text[36:52], 16), int(text[53:55], 16))


def sampled_parent(headers: Iterable[tuple[str, bytes | None]]) -> Parent | None:
    """The parent that a record's headers name, if its trace is sampled; None for a header that cannot be read."""
    value = header(headers, TRACEPARENT)
    if value is None:
        return None
    parent = parse(value.decode("latin-1"))
    return parent if parent is not None and parent.is_sampled else None


def written(trace_id: int, span_id: int, flags: int) -> str:
    """The header that makes a span the parent of what it causes."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def trace_id_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """For a log line that names a record: the id of its trace, if that is sampled."""
    parent = sampled_parent(headers)
    return None if parent is None else f"{parent.trace_id:032x}"
