"""The history of a subscription: its changes of status in the order in which they happened, not in that of arrival.

A body shows the status of the moment in which it was read, and every other body overwrites it. What a webhook's *type*
shows is certain: a subscription went on hold then, was activated then. So the turns are kept beside the status, each as
`[time of the event (ms), word]`, an end with the body's `cancelled_at` as a third element, where it has one; the latest
sixteen, and the latest sight of it as active (`seen`) that no type showed. An end that a body shows whose type shows
another moment is one at the time of its reading: the webhook of the end may come later, or never. Four questions are
asked of them: which lapses are over by now and were not answered, was a pause answered before the webhook of its end
came, has the subscription ended, and is the status that was read last older than what is known to have happened since?
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from pipeline.transform.profile import ENDED, Recovery
from pipeline.transform.timestamps import DAY_MS

Turn = list[Any]

MAX_TURNS: Final = 16
"""Five lapses with their answers. What is dropped is the oldest, a lapse always before its answer."""

SIGHT_MS: Final = 3 * DAY_MS
"""How long after its lapse a recovery is dated at most that was only seen, by who knows how late a webhook. Customer.io
starts no campaign for an event older than 72 hours: nobody is welcomed back weeks late, when the lapse itself is."""

ANSWERED: Final = "answered"
"""An event was sent that the subscription goes on: `[ms, answered, time of the lapse (ms)]`. Earlier versions wrote no
third element, and meant the last lapse before. With 0 it answers none: the `subscription.unpaused` of that moment was
silent, since another webhook had answered its pause."""

_NONE: Final = 0
"""No lapse."""

SEEN: Final = "seen"
"""A body showed it active whose type shows no turn: it had recovered by then, nobody knows when."""

READ: Final = "read"
"""Dodo's API showed it active."""

READING_MS: Final = 3_600_000
"""How long after the time of a reading from Dodo's API it may really have been made: the time is of before the page was
asked for, in whole seconds of another clock, and a page may be asked for again for minutes."""

RESUMPTIONS: Final = frozenset({"active", "unpaused", READ})
UNPAID: Final = frozenset({"on_hold", "past_due"})
LAPSES: Final = UNPAID | {"paused"}

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
"""The turn that each type shows; the others may come with any."""

WORDS: Final = frozenset({*TURN_OF.values(), ANSWERED, SEEN, READ})

_RANK: Final = {word: 2 if word in ENDED else 1 if word in LAPSES else 0 for word in WORDS}
"""Of one millisecond: an end is last, and gives way to a later activation alone."""


def merged(*told: Iterable[Turn]) -> list[Turn]:
    """The turns of several versions of a subscription, the earliest first."""
    distinct = sorted({tuple(turn) for turns in told for turn in turns})
    seen = [turn for turn in distinct if turn[1] == SEEN][-1:]
    return [list(turn) for turn in sorted([turn for turn in distinct if turn[1] != SEEN][-MAX_TURNS:] + seen)]


def lapsed_before(turns: Iterable[Turn], at_ms: int) -> bool:
    """Whether there was a lapse before that time."""
    return any(word in LAPSES and ms < at_ms for ms, word, *_ in turns)


def unpaid_since(turns: Iterable[Turn]) -> list[int]:
    """When charges failed that were due."""
    return [ms for ms, word, *_ in turns if word in UNPAID]


def read_active_ms(turns: Iterable[Turn]) -> int | None:
    """From when on it had surely been activated before, since Dodo's API showed it active; None: it never did.

    A webhook that overtakes the reading, or is overtaken by it, may still be of the first activation.
    """
    return min((ms + READING_MS for ms, word, *_ in turns if word == READ), default=None)


class _Lapse:
    """Lapses that follow each other without a resumption between them, as past_due and then on_hold, are one.

    Args:
        since_ms: when the one before this was, whose answer is not this one's.
    """

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self.last_ms = 0
        self.status = ""
        self.has_pause = False
        self.back: list[tuple[int, str]] = []

    def add(self, ms: int, status: str) -> None:
        """One more without a resumption before it."""
        self.last_ms, self.status = ms, status
        self.has_pause = self.has_pause or status == "paused"

    def answered(self, answers: Collection[tuple[int, int]]) -> bool:
        """By `answers` as pairs: when, and of which lapse; or by the webhook of a pause's end, if it was not silent."""
        if any(word == "unpaused" and (ms, _NONE) not in answers for ms, word in self.back):
            return True
        return self.answered_by_another(answers)

    def answered_by_another(self, answers: Iterable[tuple[int, int]]) -> bool:
        """By another webhook than that of a pause's end."""
        return any(ms >= self.last_ms and self.since_ms < of_ms <= self.last_ms for ms, of_ms in answers)


def recoveries(turns: Iterable[Turn], own: Iterable[Turn], delivered_ms: int) -> list[Recovery]:
    """The lapses that are over by what is known now and that no event has answered.

    A pause among them is answered under its own name, which `subscription.unpaused` gives its own event.

    Args:
        turns: all that are known, with those of the webhook that is asked about.
        own: that webhook's alone: what it shows, it shows of now.
        delivered_ms: when the last of them was delivered: what was only seen is known to hold then.
    """
    ordered = _in_order(turns)
    lapses, answers = _lapses(ordered), _answers(ordered)
    found = []
    for place, lapse in enumerate(lapses):
        if lapse.answered(answers):
            continue
        exact = [ms for ms, word in lapse.back if word in {"active", "unpaused"}]
        sights = [ms for ms, word in lapse.back if word == READ]
        over_ms = min(exact or sights, default=None)
        if place == len(lapses) - 1:  # a sight before another lapse may have been read after it, and shows neither
            exact += [ms for ms, word, *_ in own if word == SEEN and ms > lapse.last_ms]
            sights += [ms for ms, word, *_ in ordered if word == SEEN and ms > lapse.last_ms]
        if exact or sights:
            at_ms = min(exact) if exact else min(*sights, lapse.last_ms + SIGHT_MS)
            shown_ms = max(delivered_ms, min(exact or sights)) if over_ms is None else over_ms
            found.append(Recovery(lapse.last_ms, at_ms, shown_ms, of_pause=lapse.status == "paused"))
    return found


def is_silent(turns: Iterable[Turn], at_ms: int) -> bool:
    """Whether a `subscription.unpaused` of that time tells nothing, since another webhook answered its pause.

    It ends the pause before it, unless another one has ended that, or no pause is known: then its own is still on its
    way.
    """
    ordered = _in_order(turns)
    answers = _answers(ordered)
    if (at_ms, _NONE) in answers:
        return True
    for lapse in _lapses(ordered):
        ends = [ms for ms, word in lapse.back if word == "unpaused"]
        if at_ms in ends:
            return lapse.has_pause and at_ms == ends[0] and lapse.answered_by_another(answers)
    return False


def _in_order(turns: Iterable[Turn]) -> list[Turn]:
    """By time; of one moment a lapse is the last, so that nothing of that moment ends it."""
    return sorted(turns, key=lambda turn: (turn[0], turn[1] in LAPSES))


def _lapses(ordered: Iterable[Turn]) -> list[_Lapse]:
    lapses: list[_Lapse] = []
    for ms, word, *_ in ordered:
        if word in LAPSES:
            if not lapses or lapses[-1].back:
                lapses.append(_Lapse(lapses[-1].last_ms if lapses else 0))
            lapses[-1].add(ms, word)
        elif lapses and (word in RESUMPTIONS or word == ANSWERED):
            lapses[-1].back.append((ms, word))
    return lapses


def _answers(ordered: list[Turn]) -> list[tuple[int, int]]:
    answers = []
    for ms, word, *of in ordered:
        if word == ANSWERED:
            before = [at_ms for at_ms, lapse, *_ in ordered if lapse in LAPSES and at_ms < ms]
            answers.append((ms, of[0] if of else max(before, default=0)))
    return answers


def answer(recovery: Recovery) -> Turn:
    """The turn by which the event of a recovery counts as emitted."""
    return [recovery.shown_ms, ANSWERED, recovery.lapsed_ms]


def silence(at_ms: int) -> Turn:
    """The turn by which a `subscription.unpaused` of that time counts as silent."""
    return [at_ms, ANSWERED, _NONE]


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
    is_its_types = any(ms == at_ms and word != SEEN and _shown(word) == status for ms, word, *_ in happened)
    return _shown(last) if is_its_types and last_ms > at_ms else status


def end_of(turns: Iterable[Turn]) -> Turn | None:
    """The turn with which the subscription ended, unless an activation happened later."""
    turns = list(turns)
    end = max((turn for turn in turns if turn[1] in ENDED), key=lambda turn: (turn[0], turn[1:]), default=None)
    if end is None or any(ms > end[0] for ms, word, *_ in turns if word in RESUMPTIONS):
        return None
    return end


def _shown(word: str) -> str:
    return "active" if word in RESUMPTIONS or word == SEEN else word


def read_as(status: str, read_ms: int, event_ms: int) -> list[Turn]:
    """The turns of a subscription of which no webhook's type showed a turn: what was read of it is all that is known.

    A lapse was there when the event happened; an end at the latest when it was read.
    """
    if status in LAPSES:
        return [[event_ms, status]]
    return [[read_ms, status]] if status in ENDED else []
