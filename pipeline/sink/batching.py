"""Batching: which of the waiting operations travel together.

Sizes are exact before an operation is added, in constant time each; the bytes are joined once, when the batch is
complete, and never serialised again. All of one person's operations are in one place: in a batch in the making, or in
hand, in a batch that was drawn and is not decided yet. What else comes of theirs waits behind and is put again when
they are released. So nobody is ever in two requests, and an operation behind a barrier of its own person waits while
other people's operations still fill the batch: with one request for each barrier, a backfill of 100,000 new people
would take as many requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

from pipeline.customerio.batch import SEPARATOR, WRAPPER_BYTES
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.sink.item import Item

SEPARATOR_BYTES: Final = len(SEPARATOR)

BatchCause = Literal["bytes", "idle", "barrier"]
"""Why a batch was closed: it is full, nothing else waits, or all that waits must wait for somebody's earlier one."""

MIN_BUDGET_BYTES: Final = WRAPPER_BYTES + ITEM_MAX_BYTES
"""A byte budget is never below one operation of the largest size."""


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """A batch that was drawn.

    Attributes:
        items: in order.
        body_bytes: exact size of the request body of `items`.
        cause: why it has no more.
    """

    items: list[Item]
    body_bytes: int
    cause: BatchCause


class Waiting:
    """Operations that wait, cut into batches while they come in. All of it is of one assignment.

    Whether an operation fits, and whether it must wait for an earlier one of its person, is known when it is put; a
    batch is then handed out in one step. The last batch is open to whoever has nothing elsewhere; one in which an
    operation did not fit is closed to all others, so nobody's operations pass each other.

    Records that never go into a batch (faults) keep their place among their person's, and are drawn by themselves: what
    becomes of them asks for no request, and so must not wait for a lane that can send one.

    `release` must be called for every key that was drawn, once all of its drawn operations are decided.
    """

    __slots__ = ("_began", "_behind", "_faults", "_faulty", "_filled", "_open", "_parts", "_where")

    def __init__(
        self,
        items: Iterable[Item] = (),
        *,
        in_hand: Iterable[bytes] = (),
        began: Callable[[], object] = lambda: None,
        filled: Callable[[], object] = lambda: None,
        faulty: Callable[[], object] = lambda: None,
    ) -> None:
        """`in_hand`: keys that were drawn before and are not released yet.

        `began` is called whenever a batch can be drawn after none could, `filled` whenever one is full, and `faulty`
        whenever faults can be drawn after none could.
        """
        self._began = began
        self._filled = filled
        self._faulty = faulty
        self._parts: deque[_Part] = deque()
        self._faults: list[Item] = []
        self._open: _Part | None = None
        self._where: dict[bytes, _Part] = dict.fromkeys(in_hand, _ELSEWHERE)
        self._behind: dict[bytes, deque[Item]] = {}
        for item in items:
            self.put(item)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._parts or self._faults or self._behind)

    def __iter__(self) -> Iterator[Item]:
        """All that waits, each key's in order."""
        yield from self.drawable()
        yield from chain.from_iterable(self._behind.values())

    @property
    def has_batch(self) -> bool:
        """Whether a batch can be drawn."""
        return bool(self._parts)

    @property
    def has_faults(self) -> bool:
        """Whether there are records that never go into a batch, and wait for nothing of their person's."""
        return bool(self._faults)

    @property
    def is_full(self) -> bool:
        """Whether the next batch is as full as Customer.io takes it."""
        return bool(self._parts) and self._parts[0].is_full

    def drawable(self) -> Iterator[Item]:
        """What waits for nothing but a request."""
        for part in self._parts:
            yield from part.items
        yield from self._faults

    def behind(self, keys: Iterable[bytes]) -> Iterator[Item]:
        """What waits for earlier operations of these keys."""
        return chain.from_iterable(self._behind.get(key, ()) for key in keys)

    def put(self, item: Item) -> None:
        """Add `item` behind its key's others."""
        key, part = item.key, self._open
        place = self._where.get(key)
        if place is not None and place is not part:
            if place is _FAULTS and item.fault is not None and key not in self._behind:
                self._faults.append(item)
            else:
                self._wait_behind(item)
            return
        if part is not None and item.fault is None:
            grown = part.body_bytes + SEPARATOR_BYTES + len(item.body)
            if grown <= BODY_MAX_BYTES:
                part.items.append(item)
                part.body_bytes = grown
                self._where[key] = _ELSEWHERE if item.barrier else part
                return
        if item.fault is not None:
            self._put_fault(item, place)
        else:
            self._put_into_new(item, place)

    def _put_fault(self, item: Item, place: _Part | None) -> None:
        if place is not None:  # its dead letter comes after the person's earlier operations
            self._where[item.key] = _ELSEWHERE
            self._wait_behind(item)
            return
        self._faults.append(item)
        self._where[item.key] = _FAULTS
        if len(self._faults) == 1:
            self._faulty()

    def _put_into_new(self, item: Item, place: _Part | None) -> None:
        """The open batch has no room for it, or there is none."""
        was_ready = self.has_batch
        if self._open is not None:
            self._open.is_full, self._open = True, None
            self._filled()
        if place is not None:
            self._wait_behind(item)
            return
        part = self._open = _Part()
        part.items.append(item)
        part.body_bytes += SEPARATOR_BYTES + len(item.body)
        self._parts.append(part)
        self._where[item.key] = _ELSEWHERE if item.barrier else part
        if not was_ready:
            self._began()

    def _wait_behind(self, item: Item) -> None:
        behind = self._behind.get(item.key)
        if behind is None:
            behind = self._behind[item.key] = deque()
        behind.append(item)

    def release(self, keys: Iterable[bytes]) -> None:
        """Nothing of these keys, which were drawn, is undecided any more: what waited behind it may be drawn."""
        for key in keys:
            self._where.pop(key, None)
            if self._behind:
                for item in self._behind.pop(key, ()):
                    self.put(item)

    def draw(self, max_bytes: int = BODY_MAX_BYTES) -> BatchDraft:
        """Take the next batch, which there must be: at least one operation, of each key the first ones in order.

        Its body has at most `max_bytes` and fits what Customer.io takes.
        """
        budget = max(min(max_bytes, BODY_MAX_BYTES), MIN_BUDGET_BYTES)
        part = self._parts[0]
        if part.body_bytes > budget:
            size, count = WRAPPER_BYTES - SEPARATOR_BYTES, 0
            for item in part.items:
                grown = size + SEPARATOR_BYTES + len(item.body)
                if grown > budget:
                    break
                size, count = grown, count + 1
            return BatchDraft(self._cut(part, count), size, "bytes")
        self._leave(part)  # its keys lie in no open batch any more, so whatever comes of theirs waits behind
        cause: BatchCause = "idle"
        if part.is_full or self._behind:
            cause = "bytes" if part.is_full else "barrier"
        return BatchDraft(part.items, part.body_bytes, cause)

    def draw_one(self) -> Item | None:
        """Take the first operation alone; None when none is ready."""
        return self._cut(self._parts[0], 1)[0] if self._parts else None

    def draw_faults(self) -> list[Item]:
        """Take the records that never go into a batch."""
        faults, self._faults = self._faults, []
        self._where.update(dict.fromkeys([item.key for item in faults], _ELSEWHERE))
        return faults

    def _cut(self, part: _Part, count: int) -> list[Item]:
        """Take the first of a batch; what else it has of the same keys waits behind, before all that does so already.

        What is left stays closed for the keys for which it was: behind it, some of theirs may wait already.
        """
        drawn, left = part.items[:count], part.items[count:]
        keys = {item.key for item in drawn}
        part.items, passed = (
            [item for item in left if item.key not in keys],
            [item for item in left if item.key in keys],
        )
        for item in reversed(passed):
            self._behind.setdefault(item.key, deque()).appendleft(item)
        for key in keys:
            self._where[key] = _ELSEWHERE
        part.body_bytes -= sum(SEPARATOR_BYTES + len(item.body) for item in chain(drawn, passed))
        if not part.items:
            self._leave(part)
        return drawn

    def _leave(self, part: _Part) -> None:
        self._parts.popleft()
        if part is self._open:
            self._open = None

    def keep(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Let only the wanted operations wait on; returns the others."""
        items = list(self)
        for item in self.drawable():
            self._where.pop(item.key, None)
        self._where = dict.fromkeys(self._where, _ELSEWHERE)  # in hand
        self._parts.clear()
        self._behind.clear()
        self._faults, self._open = [], None
        for item in items:
            if wanted(item):
                self.put(item)
        return [item for item in items if not wanted(item)]


class _Part:
    """A batch in the making."""

    __slots__ = ("body_bytes", "is_full", "items")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.body_bytes = WRAPPER_BYTES - SEPARATOR_BYTES
        self.is_full = False


_ELSEWHERE: Final = _Part()
"""Where a key is that is in hand, or has a barrier in what waits: its next operation waits behind."""

_FAULTS: Final = _Part()
"""Where a key is of which a record waits that never goes into a batch."""


def halve(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """Two halves of at least two items, in order, to be sent one after the other."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]
