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
"""Longer than any RFC 3339 text that carries information; bounds what the cache holds."""

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
_POINT: Final = 19
"""The place behind the seconds."""


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


@lru_cache(maxsize=4096)
def _parsed(text: str) -> int | None:
    """By place in Dodo's own form, `2026-10-14T08:21:45.182629Z`; else by the rule, which takes longer."""
    end = len(text) - 1
    if end < _POINT or text[10] != "T" or text[13] != ":" or text[16] != ":" or text[end] != "Z":
        return _general(text)
    fraction = text[_POINT + 1 : end]
    digits = f"{text[11:13]}{text[14:16]}{text[17:19]}{fraction}000"
    if not (digits.isascii() and digits.isdigit()) or (end > _POINT and (text[_POINT] != "." or not fraction)):
        return _general(text)
    seconds_ms = int(digits[:9])  # HHMMSSmmm: below the millisecond it is cut
    hour, minute, ms = seconds_ms // 10_000_000, seconds_ms // 100_000 % 100, seconds_ms % 100_000
    midnight_ms = _midnight_ms(text[:10])
    if midnight_ms is None or hour > _MAX_HOUR or minute > _MAX_MINUTE or ms >= _MAX_SECOND * 1000:
        return _general(text)
    return midnight_ms + (hour * 60 + minute) * 60_000 + ms


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
