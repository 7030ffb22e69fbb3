"""Batching: which of a lane's waiting operations travel together, as a pure function.

Sizes are exact before an operation is added, in constant time each; the bytes are joined once, when the batch is
complete, and never serialised again. An operation behind a barrier of its own person waits for the next batch, while
other people's operations still fill this one: with one request for each barrier, a backfill of 100,000 new people
would take as many requests.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.customerio.batch import SEPARATOR, WRAPPER_BYTES
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.sink.item import Item

SEPARATOR_BYTES: Final = len(SEPARATOR)

BatchCause = Literal["bytes", "idle", "barrier"]
"""Why a batch was closed: it is full, nothing else waits, or all that waits must wait for a barrier."""

MIN_BUDGET_BYTES: Final = WRAPPER_BYTES + ITEM_MAX_BYTES
"""A byte budget is never below one operation of the largest size."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What was drawn.

    Attributes:
        items: the batch, in order; empty when only faults waited.
        faults: records that never go into a batch, met on the way.
        body_bytes: exact size of the request body of `items`.
        cause: why it has no more.
    """

    items: list[Item]
    faults: list[Item]
    body_bytes: int
    cause: BatchCause


def draw(waiting: deque[Item], max_bytes: int = BODY_MAX_BYTES) -> Draft:
    """Take the next batch out of `waiting`, whose body has at most `max_bytes` and fits what Customer.io takes.

    Operations of one key keep their order. At least one is drawn when any waits.
    """
    budget = max(min(max_bytes, BODY_MAX_BYTES), MIN_BUDGET_BYTES)
    size = WRAPPER_BYTES - SEPARATOR_BYTES
    items: list[Item] = []
    faults: list[Item] = []
    barred: set[bytes] = set()
    behind: list[Item] = []
    cause: BatchCause = "idle"
    while waiting:
        item = waiting[0]
        if barred and item.key in barred:
            behind.append(waiting.popleft())
            continue
        if item.fault is not None:
            faults.append(waiting.popleft())
            continue
        grown = size + SEPARATOR_BYTES + len(item.body)
        if grown > budget:
            cause = "bytes"
            break
        items.append(waiting.popleft())
        size = grown
        if item.barrier:
            barred.add(item.key)
    if behind:
        waiting.extendleft(reversed(behind))
        if cause == "idle":
            cause = "barrier"
    return Draft(items, faults, size if items else 0, cause)


def halve(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """Two halves of at least two items, in order, to be sent one after the other."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]
