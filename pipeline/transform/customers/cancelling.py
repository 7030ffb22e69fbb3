"""Whether a subscription is scheduled to end, and which of those that showed it was the first: the one that tells it.

A webhook shows the flag as of when it happened. A reading of Dodo's API has a time that is too early, by up to
`turns.READING_MS`: what it shows may have been scheduled after that time, by a webhook that is still on its way. So a
reading silences only webhooks that surely happened after it; a webhook of before silences them whenever they happened.
Of two errors that leaves the smaller one: a cancellation of long ago, whose own webhook is not known here, is announced
late by an update that happened up to that hour, and once, since the update then counts as what showed it first. The
other error is for good: no retry and no replay makes an event that was held back.

For the flag's return to false it is the other way round, and a reading counts as made at its time. That it shows what
was scheduled only after this webhook takes two changes within the time of one page, of which the second has a webhook
that tells it. But nobody would ever tell of those who, within that hour, withdraw what they scheduled before the first
webhook.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pipeline.transform.customers.named import NO_WEBHOOK, FlagSeen
from pipeline.transform.customers.turns import READING_MS

STALE: Final = NO_WEBHOOK
"""Stands for the webhook that showed more of a cancellation than an older one can."""


def shown_by(known: Iterable[FlagSeen], mine: FlagSeen | None, until_ms: int) -> str | None:
    """The id of the webhook that first showed the cancellation that is scheduled by `until_ms`.

    `NO_WEBHOOK`: Dodo's API did, and no webhook before it; None: none is scheduled. A webhook that is older than what
    others have told is answered so that it tells nothing.

    Args:
        known: what was shown, without the webhook that asks.
        mine: what that webhook shows; None: it shows no flag.
        until_ms: when it happened.
    """
    known = list(known)
    scheduled = mine is not None and mine.scheduled
    stands = STALE if scheduled else None
    if mine is not None and any(
        seen.webhook_id == mine.webhook_id and seen.scheduled != mine.scheduled for seen in known
    ):
        return stands  # a retry that was read anew: the change has a webhook of its own
    first: dict[Any, FlagSeen] = {}
    for seen in known:  # a retry may show once more what was stored then, and is no later change
        first.setdefault(seen.webhook_id or tuple(seen), seen)
    in_order = sorted(first.values(), key=lambda seen: (seen.seen_ms, seen.at_s))
    later = [seen for seen in in_order if seen.seen_ms > until_ms and not seen.is_read]
    if mine is not None and any(not (scheduled and _is_silenced(seen, in_order)) for seen in later):
        return stands  # what happened later stands
    return _first_of(in_order, until_ms, surely=scheduled)


def _is_silenced(seen: FlagSeen, in_order: list[FlagSeen]) -> bool:
    """Whether a webhook that shows the flag told nothing, since a reading that was surely made before it does too.

    It came behind the reading's command: both lie in one partition, and hours are between them.
    """
    return _first_of(in_order, seen.seen_ms, surely=True) == NO_WEBHOOK


def _first_of(in_order: list[FlagSeen], until_ms: int, *, surely: bool) -> str | None:
    """Who first showed what is scheduled by then; `surely`: without readings that may have been made after that."""
    shown: str | None = None
    for seen in in_order:
        if seen.seen_ms > until_ms:
            break
        if not seen.scheduled:
            shown = None
        elif shown is None and not (surely and seen.is_read and seen.seen_ms + READING_MS >= until_ms):
            shown = seen.webhook_id
    return shown
