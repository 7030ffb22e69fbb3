"""Demand: whether a sink has more work than its share lets through, and what of its share it can spare.

A pure function of what is observed, about four times a second, and of times that are passed in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

SATURATED: Final = 0.9
"""Part of the share that must have been used while somebody waits, before more is asked for. A burst that the share
serves within a second asks for nothing."""

WAITED_S: Final = 1.0
"""Or a wait for a turn of this long: with less than a request a second, a count of the last second shows nothing."""

HOLD_S: Final = 1.5
"""How long a demand that is not seen any more still counts: a lane between two chunks is not at its end."""

HISTORY_S: Final = 1.5
"""How long a sink has been quiet before it lends, counted from its assignment at the earliest."""

RESERVE: Final = 0.05
"""Part of the share that is never lent. The first request after a quiet time leaves at once in any case, since every
sink may send one beyond its rate; three lenders of four leave 96 of 100 requests a second to the fourth."""

HEADROOM: Final = 2.0
"""Kept, in multiples of the busiest second of the history: a sink with a little traffic lends most of its share, and
its own requests go on without waiting."""

CRUMB: Final = 0.2
"""Part of the share below which lending is not worth the commits."""

PRESSED_S: Final = 0.5
"""A wait for a turn that shows a lender that it has kept too little."""

COOL_S: Final = 2.0
"""How long it then lends nothing more."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that left in the last window, and how long the one that waits for its turn has waited (0: none does)."""

    sent: int
    waiting_s: float


class Demand:
    """What one sink needs of the workspace's rate."""

    def __init__(self) -> None:
        self.restart(-math.inf)

    def restart(self, now: float) -> None:
        """An assignment begins; nothing is known of its demand."""
        self.wants = False
        self._since = now
        self._wanted_at = self._pressed_at = -math.inf
        self._sent: deque[tuple[float, int]] = deque()

    def observe(self, now: float, usage: Usage, own: float, *, lends: bool) -> None:
        """Take in what was just seen. `own` is what the sink may use of its own share, in requests per second.

        A sink that lends asks for nothing: its own requests are on their way back to it.
        """
        waits = usage.waiting_s > 0 and (usage.waiting_s >= WAITED_S or usage.sent >= SATURATED * own)
        if (waits and not lends) or (self.wants and usage.sent >= SATURATED * own):
            self._wanted_at = now
        self.wants = now - self._wanted_at < HOLD_S
        if usage.waiting_s >= PRESSED_S:
            self._pressed_at = now
        self._sent.append((now, usage.sent))
        while self._sent[0][0] <= now - HISTORY_S:
            self._sent.popleft()

    def spare(self, now: float, usage: Usage, share: float) -> float:
        """Requests per second of `share` that others may use.

        What is kept is never less than what left in the last window (`usage` is of this moment): to the others it is
        as if the lender had kept to it for a window already, so a borrower can begin at once.
        """
        if self.wants or now < self._since + HISTORY_S or now < self._pressed_at + COOL_S:
            return 0.0
        busiest = max((sent for _, sent in self._sent), default=0)
        spare = share - max(RESERVE * share, HEADROOM * busiest, usage.sent)
        return spare if spare >= CRUMB * share else 0.0
