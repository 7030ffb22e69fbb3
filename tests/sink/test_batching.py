"""Which operations travel together."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.batch import join
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.sink.batching import MIN_BUDGET_BYTES, Draft, Waiting, halve
from pipeline.sink.item import Fault, Item

SIZES = st.one_of(st.integers(2, 60), st.integers(2, ITEM_MAX_BYTES), st.just(ITEM_MAX_BYTES))
OPERATIONS = st.lists(
    st.tuples(st.sampled_from([b"ann", b"bob", b"cid"]), SIZES, st.booleans(), st.booleans()), max_size=60
)
CHUNK = SimpleNamespace(assignment=None)
BUDGETS = st.one_of(st.just(BODY_MAX_BYTES), st.integers(0, 2 * BODY_MAX_BYTES), st.integers(0, 70_000))


def item(key: bytes, size: int, *, barrier: bool = False, fault: bool = False, number: int = 0) -> Item:
    """An item whose body has `size` bytes."""
    body = b"{" + b" " * (size - 2) + b"}"
    chunk: Any = CHUNK
    record: Any = None
    return Item(
        record, b"" if fault else body, key, barrier, chunk, number, 0, Fault("unreadable", "") if fault else None
    )


def drain(
    operations: list[tuple[bytes, int, bool, bool]], budget: int
) -> tuple[list[Item], list[list[Item]], list[Item]]:
    """All items, the batches that they end in, and the faults."""
    items = [
        item(key, size, barrier=barrier, fault=fault, number=number)
        for number, (key, size, barrier, fault) in enumerate(operations)
    ]
    waiting = Waiting(items)
    batches, faults = [], []
    while waiting:
        before = len(waiting)
        draft = waiting.draw(budget)
        assert len(waiting) < before, "a draw must take at least one"
        assert draft.body_bytes == (len(join([one.body for one in draft.items])) if draft.items else 0)
        faults += draft.faults
        if draft.items:
            batches.append(draft.items)
    return items, batches, faults


@given(OPERATIONS, BUDGETS)
def test_never_exceeds(operations: list[tuple[bytes, int, bool, bool]], budget: int) -> None:
    """No body is larger than its budget (or one largest operation), nor than what Customer.io takes."""
    _, batches, _ = drain(operations, budget)
    bound = min(max(budget, MIN_BUDGET_BYTES), BODY_MAX_BYTES)
    assert all(len(join([one.body for one in batch])) <= bound for batch in batches)


@given(OPERATIONS, BUDGETS)
def test_everything_once_in_order(operations: list[tuple[bytes, int, bool, bool]], budget: int) -> None:
    """Every item is in exactly one batch or among the faults, and each key's items keep their order."""
    items, batches, faults = drain(operations, budget)
    drawn = [one for batch in batches for one in batch]
    assert sorted(one.index for one in drawn + faults) == list(range(len(items)))
    for key in (b"ann", b"bob", b"cid"):
        numbers = [one.index for one in drawn if one.key == key]
        assert numbers == sorted(numbers)


@given(OPERATIONS, BUDGETS)
def test_barrier(operations: list[tuple[bytes, int, bool, bool]], budget: int) -> None:
    """Nothing of the same person follows a barrier in its batch."""
    _, batches, _ = drain(operations, budget)
    for batch in batches:
        for place, one in enumerate(batch):
            if one.barrier:
                assert all(later.key != one.key for later in batch[place + 1 :])


@given(st.lists(SIZES, min_size=1, max_size=60))
def test_no_batch_closes_early(sizes: list[int]) -> None:
    """Without barriers a batch is closed only when the next operation would not fit."""
    _, batches, _ = drain([(b"ann", size, False, False) for size in sizes], BODY_MAX_BYTES)
    for batch, following in pairwise(batches):
        assert len(join([one.body for one in [*batch, following[0]]])) > BODY_MAX_BYTES


def test_exact_boundary() -> None:
    """A body of exactly the largest size is sent; one byte more is not."""
    wrapper = len(join([b"", b""]))
    exact = [item(b"ann", ITEM_MAX_BYTES, number=n) for n in range(15)]
    rest = BODY_MAX_BYTES - len(join([one.body for one in exact])) - 1
    assert len(Waiting([*exact, item(b"ann", rest)]).draw().items) == 16
    assert len(Waiting([*exact, item(b"ann", rest + 1)]).draw().items) == 15
    assert wrapper == 13


def test_causes() -> None:
    """A batch says why it was closed."""
    assert Waiting([item(b"ann", 10)]).draw().cause == "idle"
    assert Waiting([item(b"ann", 10, barrier=True)]).draw().cause == "idle"
    assert Waiting([item(b"ann", 10, barrier=True), item(b"ann", 10)]).draw().cause == "barrier"
    assert Waiting(item(b"ann", ITEM_MAX_BYTES) for _ in range(20)).draw().cause == "bytes"


def test_what_a_barrier_holds_back_goes_first() -> None:
    """Operations behind a barrier come before the person's later ones, also when the batch was closed by its size."""
    waiting = Waiting(
        [
            *(item(b"ann", 9, barrier=True), item(b"ann", 9, number=1)),
            *(item(b"bob", ITEM_MAX_BYTES) for _ in range(16)),
            item(b"ann", 9, number=2),
        ]
    )
    assert [one.index for one in waiting.draw().items if one.key == b"ann"] == [0]
    assert [one.index for one in waiting.draw().items if one.key == b"ann"] == [1, 2]


def test_barriers_of_many_people_share_a_batch() -> None:
    """A thousand new people need two batches, not a thousand: only one's own operations wait for one's barrier."""
    waiting = Waiting(item(b"%d" % person, 100, barrier=first) for person in range(1000) for first in (True, False))
    assert len(waiting.draw().items) == 1000
    assert len(waiting.draw().items) == 1000


@given(st.lists(st.integers(), min_size=2, max_size=50))
def test_halves(numbers: list[Any]) -> None:
    """Halves are not empty, in order, and together the whole."""
    first, second = halve(numbers)
    assert first
    assert second
    assert first + second == numbers
    assert abs(len(first) - len(second)) <= 1


@given(st.integers(0, 2**32 - 1), st.integers(200, 24_000))
@settings(max_examples=25, deadline=None)
def test_full_under_load(seed: int, largest: int) -> None:
    """With a backlog of operations of usual size, every batch has at least 95 % of the bytes that it may have."""
    dice = random.Random(seed)
    waiting, number_of_bytes = Waiting(), 0
    while number_of_bytes < 6 * BODY_MAX_BYTES:
        key, new = b"%d" % dice.randrange(50_000), dice.random() < 0.1
        for number in range(dice.randint(1, 9)):
            one = item(key, dice.randint(150, largest), barrier=new and not number)
            waiting.put(one)
            number_of_bytes += len(one.body)
    while number_of_bytes > 2 * BODY_MAX_BYTES:
        draft = waiting.draw()
        number_of_bytes -= sum(len(one.body) for one in draft.items)
        assert draft.cause == "bytes"
        assert draft.body_bytes >= 0.95 * BODY_MAX_BYTES


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([b"ann", b"bob", b"cid"]), SIZES, st.booleans(), st.booleans()),
        st.integers(0, BODY_MAX_BYTES),
        st.just("remove"),
    ),
    max_size=80,
)


@given(STEPS)
def test_puts_and_draws_in_turns(steps: list[Any]) -> None:
    """While batches are drawn with changing budgets, each key's operations leave in the order in which they came."""
    waiting, number, left, removed, faults = Waiting(), 0, [], [], []
    for step in [*steps, *[BODY_MAX_BYTES] * len(steps)]:
        if isinstance(step, tuple):
            key, size, barrier, fault = step
            waiting.put(item(key, size, barrier=barrier, fault=fault, number=number))
            number += 1
        elif step == "remove":
            first = next((one for one in waiting if one.fault is None), None)
            if first is not None:
                waiting.remove(first)
                removed.append(first.index)
        elif waiting:
            draft = waiting.draw(step)
            assert draft.body_bytes == (len(join([one.body for one in draft.items])) if draft.items else 0)
            assert draft.body_bytes <= max(step, MIN_BUDGET_BYTES)
            barred = [place for place, one in enumerate(draft.items) if one.barrier]
            for place in barred:
                assert all(one.key != draft.items[place].key for one in draft.items[place + 1 :])
            left += draft.items
            faults += [one.index for one in draft.faults]
    assert not waiting
    assert len(waiting) == 0
    assert sorted([*removed, *faults, *(one.index for one in left)]) == list(range(number))
    for key in (b"ann", b"bob", b"cid"):
        own = [one.index for one in left if one.key == key]
        assert own == sorted(own)


def test_began() -> None:
    """Whoever waits for operations is told when the first one waits, and again after the last one was drawn."""
    told: list[int] = []
    waiting = Waiting(began=lambda: told.append(0))
    for _ in range(2):
        waiting.put(item(b"ann", 9))
        waiting.put(item(b"bob", 9, fault=True))
        waiting.draw()
    assert len(told) == 2


@given(OPERATIONS, OPERATIONS, BUDGETS)
def test_what_came_in_joins(
    first: list[tuple[bytes, int, bool, bool]], later: list[tuple[bytes, int, bool, bool]], budget: int
) -> None:
    """What comes in while a batch waits for its turn goes along, within the same bytes, behind no barrier and in order;
    nothing is lost."""  # noqa: D205, D209 - one promise
    waiting = Waiting()
    items: list[Item] = []
    drafts: list[Draft] = []
    for operations in (first, later):
        for key, size, barrier, fault in operations:
            items.append(item(key, size, barrier=barrier, fault=fault, number=len(items)))
            waiting.put(items[-1])
        if waiting and not drafts:
            drafts.append(waiting.draw(budget))
    if drafts:
        drawn = drafts[0]
        drafts[0] = joined = waiting.join(drawn, budget)
        assert joined.items[: len(drawn.items)] == drawn.items
        assert joined.body_bytes == (len(join([one.body for one in joined.items])) if joined.items else 0)
        assert joined.body_bytes <= max(min(budget, BODY_MAX_BYTES), MIN_BUDGET_BYTES)
        assert (joined.cause == "idle") == (not waiting) or joined is drawn
    while waiting:
        drafts.append(waiting.draw(budget))
    for key in (b"ann", b"bob", b"cid"):
        sent = [one for draft in drafts for one in draft.items if one.key == key]
        assert sent == [one for one in items if one.key == key and one.fault is None]
    for draft in drafts:
        barred: set[bytes] = set()
        for one in draft.items:
            assert one.key not in barred
            if one.barrier:
                barred.add(one.key)


def test_all_that_fits_joins() -> None:
    """A batch that was drawn too early leaves as the one that would have been drawn at its turn."""
    waiting = Waiting([item(b"ann", 100, number=0)])
    drawn = waiting.draw()
    for number in range(1, 50):
        waiting.put(item(b"ann", 100, number=number))
    joined = waiting.join(drawn)
    assert [one.index for one in joined.items] == list(range(50))
    assert (joined.cause, len(waiting)) == ("idle", 0)
