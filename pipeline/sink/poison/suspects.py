"""Suspects: operations of which it is unknown whether their failing is their own fault, since nothing else succeeds.

A proxy may answer 400 to all, and a backlog may be all behind one lane. Only another person's operation can show it. So
the next other person's goes first, one at a time and at the pace of the backoff; a person's own later operations still
wait. Pure: works on the lists that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.sink.batching import Waiting
from pipeline.sink.group import Group


def set_aside(stack: list[Group], waiting: Waiting) -> bool:
    """Put another person's operation before the suspect on top of `stack` (the next group is last).

    It comes out of the rest of the stack, else from `waiting`, else out of a batch among the suspects. When there is
    none, the suspect that was set aside first has its turn again, and the answer is False. A batch has its turn at
    every second failure: in a brown-out it must not wait for all that is behind it.

    Nobody's operation ever passes an earlier one of the same person.
    """
    suspect = stack[-1]
    suspect.aside = True
    first = len(stack)
    while first and stack[first - 1].aside:
        first -= 1
    if suspect.failures % 2 and _take_turns(stack, first, at_least=2):
        return True
    witness = _other(stack, first, waiting) or _from_a_batch(stack, first)
    if witness is None:
        _take_turns(stack, first)
        return False
    witness.failures = suspect.failures  # whoever goes next goes no sooner
    stack.append(witness)
    return True


def _take_turns(stack: list[Group], first: int, *, at_least: int = 1) -> bool:
    """Let the suspect go next that was set aside first, of those that pass nobody and have so many operations."""
    ahead = {item.key for item in stack[-1].items}
    turn = None
    for place in range(len(stack) - 2, first - 1, -1):
        keys = {item.key for item in stack[place].items}
        if len(stack[place].items) >= at_least and ahead.isdisjoint(keys):
            turn = place
        ahead |= keys
    if turn is not None:
        stack.append(stack.pop(turn))
    return turn is not None


def _other(stack: list[Group], first: int, waiting: Waiting) -> Group | None:
    """An operation of somebody who has none among the suspects, from `first` on, taken out of where it was."""
    suspects = {item.key for group in stack[first:] for item in group.items}
    for place in range(first - 1, -1, -1):
        group = stack[place]
        for index, item in enumerate(group.items):
            if item.key not in suspects:
                rest = group.items[:index] + group.items[index + 1 :]
                stack[place : place + 1] = [group.part(rest, resent=group.resent)] if rest else []
                return group.part([item], resent=group.resent)
    one = waiting.draw_one()  # nobody of whom something is in hand
    return None if one is None else Group([one])


def _from_a_batch(stack: list[Group], first: int) -> Group | None:
    """An operation out of the suspect that is a batch, of somebody of whom nothing is ahead of it."""
    ahead: set[bytes] = set()
    for place in range(len(stack) - 1, first - 1, -1):
        group = stack[place]
        if len(group.items) > 1:
            for item in group.items:
                if item.key not in ahead:
                    return group.take_out(item)
        ahead |= {item.key for item in group.items}
    return None


def others_fail(groups: Iterable[Group], group: Group) -> bool:
    """Whether anybody else's operation is failing too."""
    return any(
        other is not group
        and (other.failures or other.refused_at is not None)
        and other.items[0].key != group.items[0].key
        for other in groups
    )


def refused_alike(groups: Iterable[Group], group: Group) -> int:
    """How many people's operations were last refused in the words in which that of `group` was, its own included."""
    alike = (one for one in groups if one.refused_at is not None and one.refused_as == group.refused_as)
    return len({group.items[0].key} | {item.key for one in alike for item in one.items})
