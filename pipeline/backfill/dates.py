"""Reads the range of a backfill as people type it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from pipeline.errors import InputError

FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Nothing at Dodo is that old. An earlier date is a typing error, and in the first years of the calendar a margin
before it would be no date."""


def moment(text: str, option: str, *, ends: bool = False) -> datetime:
    """The time that `text` means: ISO 8601, UTC without an offset.

    A date alone is the start of that day, or, where a range `ends`, the start of the next day.

    Raises:
        InputError: it is neither a date nor a time, with the name of the option.
    """
    text = text.strip()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        try:
            return midnight + timedelta(days=1) if ends else midnight
        except OverflowError:
            return midnight
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{option} {text!r} is no date: give 2024-01-31 or 2024-01-31T14:00:00Z") from None


def span(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """The range [since, until); without an end, or with one in the future, it ends now.

    Raises:
        InputError: a text is no date, or the range is empty.
    """
    first = moment(since, "--from")
    last = now if until is None else min(now, moment(until, "--to", ends=True))
    if first < FIRST:
        raise InputError(f"--from {since} lies before {FIRST:%Y}: Dodo has nothing that old")
    if first >= now:
        raise InputError(f"--from {since} is to come: nothing was created since")
    if first >= last:
        raise InputError(f"--from {since} is not before --to {until}: nothing can lie between")
    return first, last
