"""Reading what lies in headers and timestamps, whatever it is."""

from __future__ import annotations

import pytest

from pipeline.kafka.fetched import FetchedRecord
from pipeline.kafka.records import int_header, place_in, source_of, text_header, time_ms, whole


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_790_000_000_000, 1_790_000_000_000),
        (1_000_000_000_000, 1_000_000_000_000),
        (-1, None),
        (0, None),
        (1_790_000_000, None),  # seconds
        (-62_135_596_800_000, None),  # the year 1
        (253_402_300_800_000, None),  # the year 10,000
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_a_record_s_time(timestamp: int, expected: int | None) -> None:
    """A number that no clock showed in milliseconds is no time."""
    assert time_ms(FetchedRecord("t", 0, 1, timestamp, 0, None, None, ())) == expected


def test_headers_of_any_bytes() -> None:
    """Null, empty and odd values read as absent or as text, and never raise."""
    headers = [("a", None), ("B", b"\xff"), ("c", b""), ("d", b"9" * 20), ("d", b"1")]
    assert [text_header(headers, name) for name in "abcx"] == [None, "\ufffd", None, None]
    assert [int_header(headers, name) for name in "abcd"] == [None] * 4


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "+1", " 1", "1_0", "1.0", "\u0661", "9" * 20, b"", b"x", b"\xb2", None]
)
def test_what_is_no_number(text: str | bytes | None) -> None:
    """Only ASCII digits are, and no more of them than a count or a time has."""
    assert whole(text) is None
    assert (whole("042"), whole(b"9" * 19)) == (42, 10**19 - 1)


@pytest.mark.parametrize(
    "source", [None, "", "http", "t", "t/1", "t//2", "t/1/", "t/1/2/3", "t/x/2", "other/1/2", "t/1/-2"]
)
def test_what_is_no_place(source: str | None) -> None:
    """The source of a record of the topic is its partition and offset; another text is none."""
    assert place_in("t", source) is None
    assert place_in("t", source_of(FetchedRecord("t", 1, 2, 0, 0, None, None, ()))) == (1, 2)
