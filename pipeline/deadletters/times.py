"""Reads times as people type them: `2h` ago, or ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.errors import InputError

AGO: Final = re.compile(r"(?P<count>\d{1,9}(?:\.\d{1,9})?)\s*(?P<unit>[smhdw])")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_ms(text: str, now_ms: int) -> int:
    """The time that `text` means, in unix ms.

    `90s`, `15m`, `2h`, `3d`, `1w` count back from `now_ms`; anything else must be ISO 8601. A date alone is its
    midnight; without an offset it is UTC, as everything that is printed.

    Raises:
        InputError: it has neither form, or is before 1970.
    """
    text = text.strip()
    ago = AGO.fullmatch(text.lower())
    if ago is not None:
        at_ms = now_ms - round(float(ago["count"]) * SECONDS[ago["unit"]] * 1000)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(
                f"{text!r} is no time: give 30m, 2h, 3d or 1w (ago), or ISO 8601, as in 2026-03-29T14:00:00Z"
            ) from None
        at_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if at_ms < 0:
        raise InputError(f"{text!r} lies before 1970: no dead letter is that old")
    return at_ms


def written(at_ms: int) -> str:
    """`at_ms` as ISO 8601 in UTC, to the millisecond; one beyond the year 9999 stays a number."""
    seconds, ms = divmod(at_ms, 1000)  # in late centuries a float would be wrong by a millisecond
    try:
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000)
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
