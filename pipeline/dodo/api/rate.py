"""Limits the rate of requests to Dodo's API: several limits, each over a sliding window, with the clock passed in.

The figures are those reported for an account of the lowest tier: 40 requests a second and 240 a minute
(https://github.com/thadeucity/kana-app-back/issues/26); the published reference names none. Both hold at once: after a
burst of 240 requests none may be sent for the rest of that minute.
"""

from __future__ import annotations

from collections import deque
from typing import Final

PER_SECOND: Final = 40
PER_MINUTE: Final = 240

SLACK: Final = 1.05
"""The API counts arrivals, and requests do not all take equally long to arrive: windows that are a twentieth longer
here keep the limit there."""


class RateLimit:
    """At most `count` requests in any `seconds`, for each of the limits.

    Args:
        limits: pairs of count and seconds.
    """

    def __init__(self, *limits: tuple[int, float]) -> None:
        self._limits = [(count, seconds * SLACK) for count, seconds in limits]
        self._taken: deque[float] = deque(maxlen=max((count for count, _ in limits), default=1))
        self._not_before = float("-inf")

    @classmethod
    def of_account(cls, per_minute: int = PER_MINUTE) -> RateLimit:
        """The account's limits; a lower `per_minute` leaves room for other clients of the same account."""
        return cls((min(PER_SECOND, per_minute), 1.0), (per_minute, 60.0))

    def wait_s(self, now_s: float) -> float:
        """Seconds from `now_s` until a request may be sent."""
        return self._next(now_s) - now_s

    def take(self, now_s: float) -> float:
        """The same, and count that request as sent."""
        at_s = self._next(now_s)
        self._taken.append(at_s)
        return at_s - now_s

    def hold(self, until_s: float) -> None:
        """Allow no request before `until_s`, since the API refused one."""
        self._not_before = max(self._not_before, until_s)

    def _next(self, now_s: float) -> float:
        at_s = max(now_s, self._not_before)
        for count, seconds in self._limits:
            if len(self._taken) >= count:
                at_s = max(at_s, self._taken[-count] + seconds)
        return at_s
