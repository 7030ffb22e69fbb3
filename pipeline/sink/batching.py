"""Batching: which of a lane's waiting operations travel together.

Sizes are exact before an operation is added, in constant time each; the bytes are joined once, when the batch is
complete, and never serialised again. An operation behind a barrier of its own person waits for the next batch, while
other people's operations still fill this one: with one request for each barrier, a backfill of 100,000 new people
would take as many requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.customerio.batch import SEPARATOR, WRAPPER_BYTES
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.sink.handover import Assignment
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

    @property
    def assignment(self) -> Assignment:
        """The stay in the group in which all of it was delivered."""
        return (self.items or self.faults)[0].assignment


class Waiting:
    """A lane's operations that wait, cut into batches while they come in.

    Whether an operation fits, and whether it must wait for a barrier, is known when it is put; a batch is then handed
    out in one step. Each operation goes into the first batch that is open, has room and no barrier of its key. A batch
    in which one did not fit is closed to all others, so nobody's operations pass each other.

    All of it is of one assignment: `Lane.renew` makes another one for the next.
    """

    __slots__ = ("_began", "_filled", "_first_open", "_parts")

    def __init__(
        self,
        items: Iterable[Item] = (),
        *,
        began: Callable[[], object] = lambda: None,
        filled: Callable[[], object] = lambda: None,
    ) -> None:
        """`began` is called whenever something waits after nothing did, `filled` whenever a batch is full."""
        self._began = began
        self._filled = filled
        self._parts: deque[_Part] = deque()
        self._first_open: _Part | None = None
        for item in items:
            self.put(item)

    def __len__(self) -> int:
        return sum(len(part.items) + len(part.faults) for part in self._parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[Item]:
        """All that waits, each key's in order."""
        for part in self._parts:
            yield from part.faults
            yield from part.items

    def put(self, item: Item) -> None:
        """Add `item` behind its key's others."""
        part = self._first_open
        if part is not None and not part.barred and not item.barrier and item.fault is None:
            grown = part.body_bytes + SEPARATOR_BYTES + len(item.body)
            if grown <= BODY_MAX_BYTES:
                part.items.append(item)
                part.body_bytes = grown
                return
        self._place(item)

    def _place(self, item: Item) -> None:
        if not self._parts:
            self._began()
        added = SEPARATOR_BYTES + len(item.body)
        for part in self._parts:
            if part.is_full or item.key in part.barred:
                continue
            if item.fault is not None or part.body_bytes + added <= BODY_MAX_BYTES:
                break
            part.is_full = True
            self._filled()
        else:
            part = _Part()
            self._parts.append(part)
        if item.fault is not None:
            part.faults.append(item)
        else:
            part.items.append(item)
            part.body_bytes += added
            if item.barrier:
                part.barred.add(item.key)
        self._look()

    def _look(self) -> None:
        self._first_open = next((part for part in self._parts if not part.is_full), None)

    @property
    def is_full(self) -> bool:
        """Whether the next batch is as full as Customer.io takes it."""
        return bool(self._parts) and self._parts[0].is_full

    def draw(self, max_bytes: int = BODY_MAX_BYTES) -> Draft:
        """Take the next batch, whose body has at most `max_bytes` and fits what Customer.io takes.

        Operations of one key keep their order. At least one record is drawn, and some must wait.
        """
        budget = max(min(max_bytes, BODY_MAX_BYTES), MIN_BUDGET_BYTES)
        part = self._parts[0]
        if part.body_bytes > budget:
            return part.split(budget)
        self._parts.popleft()
        self._look()
        cause: BatchCause = "idle"
        if self._parts:
            cause = "bytes" if part.is_full else "barrier"
        return Draft(part.items, part.faults, part.body_bytes if part.items else 0, cause)

    def join(self, draft: Draft, max_bytes: int = BODY_MAX_BYTES) -> Draft:
        """`draft` with what has come in since it was drawn and may travel with it, within the same bounds."""
        if not self._parts or draft.cause == "bytes" or not draft.items:
            return draft
        budget = max(min(max_bytes, BODY_MAX_BYTES), MIN_BUDGET_BYTES)
        items, size = list(draft.items), draft.body_bytes
        is_full = False
        stays = {item.key for item in items if item.barrier}
        for item in self:
            if item.key in stays or item.fault is not None:
                stays.add(item.key)
                continue
            grown = size + SEPARATOR_BYTES + len(item.body)
            if grown > budget:
                is_full = True
                break
            items.append(item)
            size = grown
            if item.barrier:
                stays.add(item.key)
        joined = set(items[len(draft.items) :])
        if joined:
            self.keep(lambda item: item not in joined)
        cause: BatchCause = "idle"
        if self._parts:
            cause = "bytes" if is_full else "barrier"
        return Draft(items, draft.faults, size, cause)

    def keep(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Let only the wanted operations wait on; returns the others."""
        items = list(self)
        self._parts.clear()
        self._first_open = None
        for item in items:
            if wanted(item):
                self.put(item)
        return [item for item in items if not wanted(item)]

    def remove(self, item: Item) -> None:
        """Take this one out."""
        self.keep(lambda one: one is not item)


class _Part:
    """A batch in the making. `barred`: keys with a barrier in it, for which it is closed."""

    __slots__ = ("barred", "body_bytes", "faults", "is_full", "items")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.faults: list[Item] = []
        self.body_bytes = WRAPPER_BYTES - SEPARATOR_BYTES
        self.barred: set[bytes] = set()
        self.is_full = False

    def split(self, budget: int) -> Draft:
        """Take as much as fits into `budget`, which is less than all.

        What is left stays closed for the same keys: behind it, some of theirs may wait already.
        """
        size, count = WRAPPER_BYTES - SEPARATOR_BYTES, 0
        for item in self.items:
            grown = size + SEPARATOR_BYTES + len(item.body)
            if grown > budget:
                break
            size, count = grown, count + 1
        draft = Draft(self.items[:count], self.faults, size, "bytes")
        self.items, self.faults = self.items[count:], []
        self.body_bytes -= size - (WRAPPER_BYTES - SEPARATOR_BYTES)
        return draft


def halve(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """Two halves of at least two items, in order, to be sent one after the other."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]
