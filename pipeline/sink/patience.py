"""Patience: telling a record that nobody can deliver from an outage, as pure functions with the clock passed in.

Only the success of others tells the two apart, and only while it lasts: a lane that fails while nothing at all is
accepted waits without a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

SUCCESS_COUNTS_S: Final = 60.0
"""How long a success shows that Customer.io is there: as long as the longest backoff."""

ATTEMPTS_ALONE: Final = 3
"""Attempts that one operation alone fails, others being accepted between them, before it is given up."""

Verdict = Literal["again", "halve", "give-up"]


class Successes:
    """When requests were last accepted, by any lane. Belongs to one event loop.

    A lane that fails has none of its own but those of other people's operations that it tried in between.
    """

    def __init__(self) -> None:
        self.ended_at = float("-inf")
        self._begun_at = float("-inf")

    def add(self, begun: float, ended: float) -> None:
        """A request that was sent at `begun` was accepted at `ended`."""
        self.ended_at = ended
        self._begun_at = max(self._begun_at, begun)

    def after(self, at: float) -> bool:
        """Whether a request that was sent at `at` or later was accepted."""
        return self._begun_at >= at


@dataclass(slots=True)
class Patience:
    """How long a group of operations has failed while others succeeded.

    Attributes:
        lone_s: seconds of failing during which others succeeded.
        failed_at: when it failed last.
        alone: attempts as one operation that failed, with others' success since the attempt before.
        is_over: the limit was reached once; it stays so for every part of the group.
    """

    lone_s: float = 0.0
    failed_at: float | None = None
    alone: int = 0
    is_over: bool = False

    def failed(self, operations: int, now: float, others_at: float, limit_s: float) -> Verdict:
        """What to do with a group of `operations` that failed once more at `now`.

        Args:
            operations: how many there are in the group.
            now: when it failed.
            others_at: when a request of other people was last accepted.
            limit_s: seconds of failing while others succeed that make it the group's own fault.
        """
        since = self.failed_at
        self.failed_at = now
        if since is not None:
            self.lone_s += max(min(now, others_at + SUCCESS_COUNTS_S) - since, 0.0)
            self.alone = self.alone + 1 if operations == 1 and others_at >= since else self.alone
        self.is_over = self.is_over or self.lone_s >= limit_s
        if not self.is_over:
            return "again"
        if operations > 1:
            return "halve"
        return "give-up" if self.alone >= ATTEMPTS_ALONE and since is not None and others_at >= since else "again"

    def inherited(self) -> Patience:
        """For a part of the group: as old, but not yet tried alone."""
        return replace(self, alone=0)
