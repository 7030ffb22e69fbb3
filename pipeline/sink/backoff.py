"""Backoff: how long to wait before the next attempt, as pure functions of the attempt and a random number."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0
"""A minute: an outage of hours costs 60 attempts an hour and lane, and its end is noticed within a minute."""

RECHECK_FIRST_S: Final = 5.0
RECHECK_LONGEST_S: Final = 60.0
"""Bounds for asking again with refused credentials: a person has to change something, which takes minutes."""

MAX_EXPONENT: Final = 16
"""2**16 is far above any bound here; without it a very long outage would compute huge powers."""


def full_jitter(attempt: int, random: float) -> float:
    """Seconds before the attempt after failed attempt number `attempt` (from 1); `random` is in [0, 1).

    Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): between nothing and the
    exponential bound, so that lanes and replicas which failed together do not come back together.
    """
    return random * min(FIRST_S * 2.0 ** min(attempt - 1, MAX_EXPONENT), LONGEST_S)


def recheck(refusals: int) -> float:
    """Seconds before credentials that were refused `refusals` times in a row (from 1) are tried again."""
    return min(RECHECK_FIRST_S * 2.0 ** min(refusals - 1, MAX_EXPONENT), RECHECK_LONGEST_S)
