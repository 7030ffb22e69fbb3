"""Computes how long the sink waits before its next attempt."""

from __future__ import annotations

from typing import Final

from pipeline import retry

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0
"""A minute: an outage of hours costs 60 attempts an hour and lane, and its end is noticed within a minute."""

RECHECK_FIRST_S: Final = 5.0
RECHECK_LONGEST_S: Final = 60.0
"""Bounds for asking again with refused credentials: a person has to change something, which takes minutes."""


def full_jitter(attempt: int, random: float) -> float:
    """Seconds before the attempt after failed attempt number `attempt` (from 1); `random` is in [0, 1)."""
    return retry.full_jitter(attempt, random, first_s=FIRST_S, longest_s=LONGEST_S)


def recheck(refusals: int) -> float:
    """Seconds before credentials that were refused `refusals` times in a row (from 1) are tried again."""
    return retry.doubled(refusals, RECHECK_FIRST_S, RECHECK_LONGEST_S)
