"""RFC 3339 times: every form that Dodo may send, nothing that must be guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transform.timestamps import iso, plausible_ms, to_ms, to_s, utc_day

MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - aware by `timezones`
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - aware by `timezones`
    timezones=st.just(UTC),
)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, by integer arithmetic."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-10-14T08:21:45Z", 1791966105000),
        ("2026-10-14T08:21:45.1Z", 1791966105100),
        ("2026-10-14T08:21:45.182Z", 1791966105182),
        ("2026-10-14T08:21:45.182629Z", 1791966105182),
        ("2026-10-14T08:21:45.182999999Z", 1791966105182),
        ("2026-10-14T17:21:45.182629+09:00", 1791966105182),
        ("2026-10-14T02:51:45.182629-05:30", 1791966105182),
        ("2026-10-14T17:21:45+0900", 1791966105000),
        ("2026-10-14t08:21:45z", 1791966105000),
        ("2026-10-14 08:21:45Z", 1791966105000),
        ("2026-12-31T23:59:60Z", 1798761600000),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_every_legal_form_is_read(text: str, ms: int) -> None:
    """No fraction or up to nine digits, Z or any offset, a leap second."""
    assert to_ms(text) == ms


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "now",
        "2026-10-14",
        "2026-10-14T08:21:45",  # without an offset it could be hours away
        "2026-10-14T08:21Z",
        "2026-10-14T08:21:45.Z",
        "2026-10-14T24:00:00Z",
        "2026-10-14T08:60:00Z",
        "2026-10-14T08:21:61Z",
        "2026-02-30T08:21:45Z",
        "2026-13-01T08:21:45Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",  # its offset carries it out of the calendar
        "9999-12-31T23:59:59-00:01",
        "2026-10-14T08:21:45+24:00",
        "2026-10-14T08:21:45+09:60",
        "2026-10-14T08:21:45ZZ",
        "2026-10-14T08:21:45.18x629Z",
        "2026-10-14T08:21:45,182Z",
        "9999-12-31T23:59:60Z",  # a leap second behind the calendar's end
        " 2026-10-14T08:21:45Z",
        "\u0662\u0660\u0662\u0666-10-14T08:21:45Z",
        "2026-10-14T08:21:45.182629Z" + "0" * 100_000,
        1791966105,
        1791966105.5,
        True,
        ["2026-10-14T08:21:45Z"],
        {},
    ],
)
def test_garbage_is_no_time(value: object) -> None:
    """What is not RFC 3339 gives None, not an exception and not a guess."""
    assert to_ms(value) is None
    assert to_s(value) is None


@given(MOMENTS, st.integers(0, 9), OFFSETS)
def test_agrees_with_datetime(moment: datetime, digits: int, offset: int) -> None:
    """Any moment, written with any number of digits and any offset, is the datetime's own milliseconds."""
    try:
        local = moment.astimezone(timezone(timedelta(minutes=offset)))
    except OverflowError:
        return
    fraction = f"{local.microsecond:06}000"[:digits]
    sign, minutes = ("-", -offset) if offset < 0 else ("+", offset)
    written = (
        local.strftime("%Y").zfill(4)
        + local.strftime("-%m-%dT%H:%M:%S")
        + (f".{fraction}" if digits else "")
        + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    )
    cut = moment.replace(microsecond=int(f"{local.microsecond:06}"[:digits].ljust(6, "0")) if digits else 0)
    assert to_ms(written) == floor_ms(cut)
    assert to_s(written) == floor_ms(cut) // 1000


@given(MOMENTS)
def test_what_is_written_is_read_again(moment: datetime) -> None:
    """`iso` and `to_ms` are inverse to the millisecond, and the day is the UTC day."""
    ms = floor_ms(moment)
    assert to_ms(iso(ms)) == ms
    assert utc_day(ms) == moment.date().isoformat()


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2001-09-09T01:46:40Z", 1_000_000_000_000),
        ("2001-09-09T01:46:39Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("garbage", None),
    ],
)
def test_years_that_nobody_means_are_not_plausible(text: str, ms: int | None) -> None:
    """An event is not of 1970 or 9999; Customer.io would refuse such seconds or take them for another unit."""
    assert plausible_ms(text) == ms
