"""How often each script occurs: a deck of them is shuffled, dealt to the end, and shuffled again.

It is dealt to the end so that rare scripts, and with them all 48 types, occur within every 2,000 webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from pipeline.dodo.simulator import buyers, subscribers
from pipeline.dodo.simulator.payouts import pay_out
from pipeline.dodo.simulator.scene import Life, Scene

Script = Callable[[Scene], Life]

DECK: Final[tuple[tuple[Script, int], ...]] = (
    (buyers.purchase, 14),
    (buyers.refunded, 2),
    (buyers.disputed("challenged", "won"), 1),
    (buyers.disputed("challenged", "lost"), 1),
    (buyers.disputed("accepted"), 1),
    (buyers.disputed("cancelled"), 1),
    (buyers.disputed("expired"), 1),
    (buyers.struggle, 3),
    (buyers.leave, 4),
    (subscribers.subscribe, 8),
    (subscribers.try_out, 3),
    (subscribers.convert, 2),
    (subscribers.renew, 10),
    (subscribers.day_pass, 2),
    (subscribers.lapse("on_hold", recovers=True), 2),
    (subscribers.lapse("past_due", recovers=True), 1),
    (subscribers.lapse("past_due", recovers=False), 1),
    (subscribers.cancel, 2),
    (subscribers.pause, 1),
    (subscribers.change_plan, 2),
    (subscribers.replace_card, 2),
    (subscribers.never_start, 1),
    (subscribers.expire, 1),
    (subscribers.spend_credits, 1),
    (buyers.fail_grant, 1),
    (pay_out, 1),
)
"""Scripts and how often each is in the deck, which gives about 350 webhooks."""

HOURS: Final = 6
"""How long before the present a life begins at most; the longest script needs five."""

HOURS_OF_A_DAY_PASS: Final = 27


def deal(rng: Random) -> Iterator[tuple[Script, int]]:
    """Scripts without end, and how many hours before the present each begins."""
    deck = [script for script, times in DECK for _ in range(times)]
    while True:
        rng.shuffle(deck)
        for script in deck:
            yield script, HOURS_OF_A_DAY_PASS if script is subscribers.day_pass else HOURS
