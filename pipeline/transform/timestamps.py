"""RFC 3339 times as unix numbers.

Dodo's times come with no, one, three or six fraction digits and any legal offset; Customer.io wants unix seconds, and
silently puts the time of receipt in place of an ISO text (github.com/segmentio/action-destinations/pull/2054).
What is no RFC 3339 time is None, never a guess: a text without an offset could be hours away.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

DAY_MS: Final = 86_400_000

MIN_PLAUSIBLE_MS: Final = 1_000_000_000_000
MAX_PLAUSIBLE_MS: Final = 100_000_000_000_000
"""2001 to 5138: outside it a number of seconds was not one. customerio-ruby (#144) refuses the same range."""

_MAX_LENGTH: Final = 48
"""Longer than any RFC 3339 text that carries information."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ANY = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()
_FIRST_S = (date.min.toordinal() - _EPOCH_ORDINAL) * 86_400
_END_S = (date.max.toordinal() + 1 - _EPOCH_ORDINAL) * 86_400
"""Where Python's calendar begins and ends: an offset can carry a legal text over it, to where no date can be named."""
_MAX_HOUR: Final = 23
_MAX_MINUTE: Final = 59
_MAX_SECOND: Final = 60  # RFC 3339 §5.6 allows a leap second
_FRACTION: Final = 20
"""The place behind the seconds and the point; milliseconds are three digits."""
_ZERO: Final = 48
_POINT: Final = 46
_COLON: Final = 58
_T: Final = 84
_Z: Final = 90
"""ASCII's characters `0`, `.`, `:`, `T` and `Z`."""


def to_ms(value: Any) -> int | None:
    """Unix milliseconds of an RFC 3339 text, cut (not rounded) below the millisecond; None for anything else."""
    if type(value) is not str or len(value) > _MAX_LENGTH:
        return None
    return _parsed(value)


def to_s(value: Any) -> int | None:
    """Unix seconds of an RFC 3339 text, cut below the second; None for anything else."""
    ms = to_ms(value)
    return None if ms is None else ms // 1000


def plausible_ms(value: Any) -> int | None:
    """`to_ms`, with None also for years that a clock or a unit got wrong."""
    if type(value) is not str or len(value) > _MAX_LENGTH:
        return None
    ms = _parsed(value)
    return ms if ms is not None and MIN_PLAUSIBLE_MS <= ms < MAX_PLAUSIBLE_MS else None


def utc_day(ms: int) -> str:
    """The UTC date of unix milliseconds, `2026-10-14`."""
    return date.fromordinal(_EPOCH_ORDINAL + ms // DAY_MS).isoformat()


def iso(ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC with three digits, `2026-10-14T08:21:45.182Z`."""
    text = (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _parsed(text: str) -> int | None:
    """By place in Dodo's own form, `2026-10-14T08:21:45.182629Z`; else by the rule, which takes ten times as long."""
    end = len(text) - 1
    if end < _FRACTION - 1 or not text.isascii():
        return _general(text)
    raw = text.encode()
    if raw[10] != _T or raw[13] != _COLON or raw[16] != _COLON or raw[end] != _Z:
        return _general(text)
    hour, minute, second = _two_digits(raw, 11), _two_digits(raw, 14), _two_digits(raw, 17)
    if not (0 <= hour <= _MAX_HOUR and 0 <= minute <= _MAX_MINUTE and 0 <= second < _MAX_SECOND):
        return _general(text)
    ms = 0
    if end >= _FRACTION:
        if raw[_FRACTION - 1] != _POINT or end == _FRACTION:
            return _general(text)
        worth = 100
        for place in range(_FRACTION, end):
            digit = raw[place] - _ZERO
            if not 0 <= digit <= 9:  # noqa: PLR2004 - a digit
                return _general(text)
            ms += digit * worth
            worth //= 10  # 0 below the millisecond
    midnight_ms = _midnight_ms(text[:10])
    return None if midnight_ms is None else midnight_ms + (hour * 3600 + minute * 60 + second) * 1000 + ms


def _two_digits(raw: bytes, place: int) -> int:
    """The number there, -1 where there is none."""
    tens, ones = raw[place] - _ZERO, raw[place + 1] - _ZERO
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -1  # noqa: PLR2004 - digits


@lru_cache(maxsize=4096)
def _midnight_ms(day: str) -> int | None:
    """When a day begins; a shop's webhooks are of a few."""
    if not _DAY.fullmatch(day):
        return None
    try:
        return (date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL) * DAY_MS
    except ValueError:
        return None


def _general(text: str) -> int | None:
    match = _ANY.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hour, offset_minute = match.groups()
    h, m, s = int(hour), int(minute), int(second)
    oh, om = int(offset_hour or 0), int(offset_minute or 0)
    if h > _MAX_HOUR or m > _MAX_MINUTE or s > _MAX_SECOND or oh > _MAX_HOUR or om > _MAX_MINUTE:
        return None
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
    offset = (oh * 3600 + om * 60) * (-1 if sign == "-" else 1)
    seconds = days * 86_400 + h * 3600 + m * 60 + s - offset
    if not _FIRST_S <= seconds < _END_S:
        return None
    return seconds * 1000 + int(((fraction or "") + "000")[:3])
