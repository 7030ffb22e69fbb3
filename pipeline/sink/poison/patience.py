"""Patience: distinguishes a record that nobody can deliver from an API in trouble. Pure, with the clock passed in.

Only the success of others distinguishes the two, and only their share of success near the attempt. If a record were no
more likely to fail than those around it, then of n others and itself, f + 1 of which failed, it would be among those
that failed with a probability of (f + 1) / (n + 1): a permutation test, all being alike. The product over its attempts
is the probability that an innocent record has failed every time. While nothing is accepted it stays 1; at 80 % of
failures it takes 93 attempts to fall below one in a billion, which half an hour does not hold; in good times eight.

Besides, nothing that failed without being refused is given up before a limit of time in which others succeeded: what
lasts for seconds passes by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from pipeline.sink.witnesses import NOBODY, Mark, Nearby, Witnesses

SUCCESS_COUNTS_S: Final = 60.0
"""How long a success shows that Customer.io is there: as long as the longest backoff."""

ATTEMPTS_ALONE: Final = 3
"""Attempts that one operation alone fails, others being accepted between them, before it is given up."""

GIVE_UP_BELOW: Final = 1e-9
"""How improbable it must be that a record which is given up is innocent. Eight lanes that fail every second time begin
some 30,000 batches an hour; with this bound one innocent record is given up in 30,000 such hours."""

HALVE_BELOW: Final = 1e-4
"""The same for a batch that is halved. A mistake costs no record, but smaller requests when there are too few: of
30,000 batches in a bad hour, three."""

COMPARED_TRIES: Final = 5
"""So many attempts of any group are compared with those of others, however long it failed as a part of a larger one."""

Verdict = Literal["again", "halve", "give-up"]


@dataclass(slots=True)
class Patience:
    """How long, and against what odds, a group of operations has failed while others succeeded.

    Attributes:
        lone_s: seconds of failing during which others succeeded.
        failed_at: when it failed last, as part of a larger group if not by itself.
        tries: attempts as this group.
        alone: attempts as one operation that failed, with others' success since the attempt before.
        odds: the probability that an innocent group fails so often, from 1 downwards.
        is_over: the limit was reached once; it stays so for every part of the group.
        mark: what others had come to when it failed last.
    """

    lone_s: float = 0.0
    failed_at: float | None = None
    tries: int = 0
    alone: int = 0
    odds: float = 1.0
    is_over: bool = False
    mark: Mark | None = None
    _before: Nearby = NOBODY

    def failed(self, operations: int, now: float, witnesses: Witnesses, limit_s: float) -> Verdict:
        """What to do with a group of `operations` that failed once more at `now`; adds it to `witnesses`.

        Args:
            operations: how many there are in the group.
            now: when it failed.
            witnesses: what came of all requests so far.
            limit_s: seconds of failing while others succeed before it may be the group's own fault.
        """
        since, self.failed_at = self.failed_at, now
        was_old = self.is_old(limit_s)
        between = witnesses.since(self.mark)
        self.tries += 1
        self._weigh(between.after, between.before)
        if since is not None:
            self.lone_s += max(min(now, witnesses.ended_at + SUCCESS_COUNTS_S) - since, 0.0)
            self.alone += operations == 1 and between.successes > 0
        if not was_old:
            witnesses.failed()
        self.mark = witnesses.mark
        if self.lone_s < limit_s:
            return "again"
        if operations > 1:
            self.is_over = self.is_over or self.odds <= HALVE_BELOW
            return "halve" if self.is_over else "again"
        known = self.alone >= ATTEMPTS_ALONE and self.odds <= GIVE_UP_BELOW and between.successes > 0
        return "give-up" if known else "again"

    def is_old(self, limit_s: float) -> bool:
        """Whether the group has failed for so long, and so often, that others are not compared with it any more."""
        return 0 < limit_s <= self.lone_s and self.tries >= COMPARED_TRIES

    def _weigh(self, after: Nearby, before: Nearby) -> None:
        """Judge the attempt before this one by what was near it on both sides.

        Attempts with no other request between them are one: they met the same moment, whatever its length.
        """
        if self.tries > 1 and not after.requests:
            return
        if self.tries > 1:
            near = self._before + after
            self.odds *= (near.failed + 1) / (near.requests + 1)
        self._before = before

    def inherited(self) -> Patience:
        """For a part of the group: as old, but not yet tried by itself."""
        return replace(self, tries=0, alone=0, odds=1.0, _before=NOBODY)
