"""What happened to a subscription, turn by turn in the order in which it happened, whatever the order of arrival.

A body shows the status of the moment in which it was read, and every other body overwrites it. What a webhook's *type*
tells is solid: a subscription went on hold then, was activated then. So the turns are kept beside the status, each as
`[time of the event (ms), word]`, an end with the body's `cancelled_at` as a third element, where it has one; the latest
sixteen. Three questions are asked of them: is a lapse unanswered, has the subscription ended, and is the status that
was read last older than what is known to have happened since?
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pipeline.transform.profile import ENDED, Lapse

Turn = list[Any]

MAX_TURNS: Final = 16
"""Five lapses with their answers. What is dropped is the oldest, a lapse always before its answer."""

ANSWERED: Final = "answered"
"""An event said that the subscription goes on."""

RESUMPTIONS: Final = frozenset({"active", "unpaused"})
LAPSES: Final = frozenset({"on_hold", "past_due", "paused"})

TURN_OF: Final = {
    "subscription.active": "active",
    "subscription.unpaused": "unpaused",
    "subscription.on_hold": "on_hold",
    "subscription.past_due": "past_due",
    "subscription.paused": "paused",
    "subscription.cancelled": "cancelled",
    "subscription.expired": "expired",
    "subscription.failed": "failed",
}
"""The turn that each type tells; the others may come with any."""

WORDS: Final = frozenset({*TURN_OF.values(), ANSWERED})

_RANK: Final = {word: 2 if word in ENDED else 1 if word in LAPSES else 0 for word in WORDS}
"""Of one millisecond: an end is last, and gives way to a later activation alone."""


def merged(*told: Iterable[Turn]) -> list[Turn]:
    """The turns of several tellings, the earliest first."""
    distinct = {tuple(turn) for turns in told for turn in turns}
    return [list(turn) for turn in sorted(distinct)[-MAX_TURNS:]]


def lapse_before(turns: Iterable[Turn], at_ms: int) -> Lapse | None:
    """The last lapse that happened before `at_ms`, and whether it was answered.

    Lapses that follow each other without a resumption between them, as past_due and then on_hold, are one: what
    answers the last of them answers all.
    """
    ordered = sorted(turns, key=lambda turn: turn[0])
    since_ms, status = max(((ms, word) for ms, word, *_ in ordered if word in LAPSES and ms < at_ms), default=(0, None))
    if status is None:
        return None
    resumed = False
    for ms, word, *_ in ordered:
        if ms <= since_ms:
            continue
        if word in {ANSWERED, "unpaused"}:
            return Lapse(status, answered=True)
        if word in LAPSES and resumed:
            break  # another lapse, which has its own answer
        resumed = resumed or word in RESUMPTIONS
    return Lapse(status, answered=False)


def status_of(turns: list[Turn], status: str, at_ms: int) -> str:
    """The status that holds; `status` is what was read last, by a webhook whose event happened at `at_ms`.

    An end gives way only to an activation that happened later. And a body that says what its type says may have been
    stored when the event happened, however late its retry was delivered: it does not undo what happened since. One that
    contradicts its type was read at the delivery, and is the news that it seems to be.
    """
    happened = [turn for turn in turns if turn[1] != ANSWERED]
    if not happened:
        return status
    last_ms, last, *_ = max(happened, key=lambda turn: (turn[0], _RANK[turn[1]], turn[1]))
    if (end := end_of(happened)) is not None:
        return status if status in ENDED else str(end[1])
    is_its_types = any(ms == at_ms and _shown(word) == status for ms, word, *_ in happened)
    return _shown(last) if is_its_types and last_ms > at_ms else status


def end_of(turns: Iterable[Turn]) -> Turn | None:
    """The turn with which the subscription ended, unless an activation happened later."""
    turns = list(turns)
    end = max((turn for turn in turns if turn[1] in ENDED), key=lambda turn: (turn[0], turn[1:]), default=None)
    if end is None or any(ms > end[0] for ms, word, *_ in turns if word in RESUMPTIONS):
        return None
    return end


def _shown(word: str) -> str:
    return "active" if word in RESUMPTIONS else word


def read_as(status: str, read_ms: int, event_ms: int) -> list[Turn]:
    """The turns of a subscription of which no webhook's type told anything: what was read of it is all that is known.

    A lapse was there when the event happened; an end at the latest when it was read.
    """
    if status in LAPSES:
        return [[event_ms, status]]
    return [[read_ms, status]] if status in ENDED else []
