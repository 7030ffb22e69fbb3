"""Ranges as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.backfill.dates import moment, span
from pipeline.errors import InputError

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ends", "expected"),
    [
        ("2024-01-31", False, datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-01-31", True, datetime(2024, 2, 1, tzinfo=UTC)),
        (" 2024-01-31 ", False, datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-02-29", True, datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024-01-31T14:00:00Z", True, datetime(2024, 1, 31, 14, tzinfo=UTC)),
        ("2024-01-31 14:00", False, datetime(2024, 1, 31, 14, tzinfo=UTC)),
        ("2024-01-31T14:00:00+09:00", False, datetime(2024, 1, 31, 5, tzinfo=UTC)),
    ],
)
def test_moments(text: str, ends: bool, expected: datetime) -> None:
    """A date is its first moment, or with its whole day where a range ends; a time is itself, UTC without an offset."""
    assert moment(text, "--from", ends=ends) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "2023-02-29", "31.01.2024", "1700000000000000"])
def test_no_dates(text: str) -> None:
    """What is no date is refused with the option's name."""
    with pytest.raises(InputError, match=r"--to .* is no date"):
        moment(text, "--to", ends=True)


def test_span_ends_now() -> None:
    """Without an end, with one that is to come, and on the present day, the range ends now."""
    since = datetime(2026, 3, 1, tzinfo=UTC)
    assert span("2026-03-01", None, NOW) == (since, NOW)
    assert span("2026-03-01", "2030-01-01", NOW) == (since, NOW)
    assert span("2026-03-01", "2026-03-29", NOW) == (since, NOW)
    assert span("2026-03-01", "2026-03-01", NOW) == (since, datetime(2026, 3, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-04-01", None),
        ("0001-01-01", None),
        ("1999-12-31", None),
        ("2026-03-02", "2026-03-01"),
        ("2026-03-30", "2031-01-01"),
    ],
)
def test_empty_spans(since: str, until: str | None) -> None:
    """A range in which nothing can lie is refused instead of read."""
    with pytest.raises(InputError):
        span(since, until, NOW)
