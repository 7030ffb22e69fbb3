"""Suspects: operations of which nobody can say whether it is their fault that they fail, since nothing else succeeds.

A proxy may answer 400 to all, and a backlog may be all behind one lane. Only another person's operation can tell. So
the next other person's goes first, one at a time and at the pace of the backoff; a person's own later operations still
wait. Pure: works on the lists that it is given.
"""

from __future__ import annotations

from pipeline.sink.batching import Waiting
from pipeline.sink.group import Group


def set_aside(stack: list[Group], waiting: Waiting) -> bool:
    """Put another person's operation before the suspect on top of `stack` (the next group is last).

    It comes out of the rest of the stack, else from `waiting`. When there is none, the suspect that was set aside first
    has its turn again, and the answer is False.
    """
    suspect = stack[-1]
    suspect.aside = True
    first = len(stack)
    while first and stack[first - 1].aside:
        first -= 1
    suspects = {item.key for group in stack[first:] for item in group.items}
    for place in range(first - 1, -1, -1):
        group = stack[place]
        for index, item in enumerate(group.items):
            if item.key not in suspects:
                rest = group.items[:index] + group.items[index + 1 :]
                stack[place : place + 1] = [group.part(rest, resent=group.resent)] if rest else []
                stack.append(group.part([item], resent=group.resent))
                stack[-1].failures = suspect.failures  # whoever goes next goes no sooner
                return True
    for item in waiting:
        if item.fault is not None:
            suspects.add(item.key)  # its dead letter comes before the person's later operations
        elif item.key not in suspects:
            waiting.remove(item)
            stack.append(Group([item], failures=suspect.failures))
            return True
    stack.append(stack.pop(first))
    return False
