"""When to try again: backoff with full jitter, and the Retry-After header. Pure functions, for every client of ours.

Kafka's clients are not among them: they wait as Java's do (`pipeline.kafka.reconnect`).
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_MAX_S: Final = 300.0
"""Guards against a header that would hold a stage for hours; Customer.io's own Node library has the same cap."""

MAX_EXPONENT: Final = 16
"""2**16 is far above any bound here; without it a very long outage would compute huge powers."""

_SECONDS = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)


def doubled(attempt: int, first_s: float, longest_s: float) -> float:
    """Seconds for attempt number `attempt` (from 1): `first_s`, doubled at each attempt, `longest_s` at most."""
    return min(first_s * 2.0 ** min(attempt - 1, MAX_EXPONENT), longest_s)


def full_jitter(attempt: int, random: float, *, first_s: float, longest_s: float) -> float:
    """Seconds before the attempt after failed attempt number `attempt` (from 1); `random` is in [0, 1).

    Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): between nothing and the
    exponential bound, so that those who failed together do not come back together.
    """
    return random * doubled(attempt, first_s, longest_s)


def retry_after_s(value: str | None, *, date: str | None = None, now_s: float | None = None) -> float | None:
    """Seconds to wait, 0 to `RETRY_AFTER_MAX_S`, or None when `value` is absent or garbage.

    Customer.io documents no such header; proxies and load balancers in front of it may send one.

    Args:
        value: the Retry-After header, in either form (RFC 9110 §10.2.3).
        date: the Date header of the same answer. A time is measured from it, so the clocks of client and server need
            not agree.
        now_s: unix seconds here, used when there is no usable Date header.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), RETRY_AFTER_MAX_S)
    until_s = unix_s(value)
    from_s = unix_s(date) if date else None
    if from_s is None:
        from_s = now_s
    if until_s is None or from_s is None or not math.isfinite(from_s):
        return None
    return min(max(until_s - from_s, 0.0), RETRY_AFTER_MAX_S)


def unix_s(http_date: str) -> float | None:
    """Unix seconds of a date in a header, in any form of RFC 9110 §5.6.7; None when it is garbage."""
    try:
        moment = parsedate_to_datetime(http_date)
        # asctime's form has no zone; RFC 9110 says that it is UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
