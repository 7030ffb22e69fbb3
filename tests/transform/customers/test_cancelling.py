"""Which webhook tells that a cancellation is scheduled, beside readings whose time is too early."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.transform.customers.cancelling import STALE, shown_by
from pipeline.transform.customers.named import NO_WEBHOOK, FlagSeen
from pipeline.transform.customers.turns import READING_MS

AT_MS = 1_792_000_000_000
DOUBT = READING_MS


def seen(webhook_id: str, after_ms: int, *, scheduled: bool = True) -> FlagSeen:
    """What a webhook of so long after the reading shows, delivered a second later."""
    at_ms = AT_MS + after_ms
    return FlagSeen(at_ms // 1000 + 1, at_ms, scheduled, webhook_id)


READ = FlagSeen(AT_MS // 1000, 0, scheduled=True, webhook_id="")
BEFORE, SOON, LATE = seen("before", -60_000), seen("soon", 60_000), seen("late", DOUBT + 60_000)
BACK = seen("back", 30_000, scheduled=False)
OTHER_READ = READ._replace(at_s=READ.at_s - 86_400)


@pytest.mark.parametrize(
    ("known", "after_ms", "told_by"),
    [
        ([], 33_000, None),
        ([READ], -1, None),
        ([READ], 0, None),
        ([READ], 33_000, None),
        ([READ], DOUBT, None),
        ([READ], DOUBT + 1, NO_WEBHOOK),
        ([OTHER_READ, READ], 33_000, NO_WEBHOOK),
        ([READ, BEFORE], 33_000, "before"),
        ([READ, SOON], 61_000, "soon"),
        ([READ, SOON], 33_000, STALE),
        ([READ, LATE], 33_000, None),
        ([READ, LATE], -90_000, None),
        ([READ, LATE, SOON], 33_000, STALE),
        ([READ, LATE, BEFORE], -90_000, STALE),
        ([LATE], 33_000, STALE),
        ([READ, BACK], 20_000, STALE),
        ([READ, BACK], 33_000, None),
        ([READ, BACK], 2 * DOUBT, None),
        ([READ, BACK, LATE], 33_000, STALE),
    ],
)
def test_who_has_told_what_a_webhook_shows(known: list[FlagSeen], after_ms: int, told_by: str | None) -> None:
    """A reading silences what surely happened after it; what it has silenced told nothing, and silences nobody."""
    mine = seen("mine", after_ms)
    assert {shown_by(order, mine, mine.at_ms) for order in permutations(known)} == {told_by}


@pytest.mark.parametrize(
    ("known", "after_ms", "told_by"),
    [
        ([], 33_000, None),
        ([READ], -1, None),
        ([READ], 33_000, NO_WEBHOOK),
        ([READ], 2 * DOUBT, NO_WEBHOOK),
        ([READ, SOON], 61_000, NO_WEBHOOK),
        ([READ, SOON], 33_000, None),
        ([READ, BACK], 33_000, None),
        ([READ, LATE], 33_000, None),
    ],
)
def test_what_a_webhook_withdraws(known: list[FlagSeen], after_ms: int, told_by: str | None) -> None:
    """To it a reading was made at its time: a withdrawal right after it is told, as long as nothing came later."""
    mine = seen("mine", after_ms, scheduled=False)
    assert {shown_by(order, mine, mine.at_ms) for order in permutations(known)} == {told_by}
