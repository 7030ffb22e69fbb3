"""Which operations travel together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.batch import join
from pipeline.customerio.limits import BODY_MAX_BYTES, ITEM_MAX_BYTES
from pipeline.sink.batching import MIN_BUDGET_BYTES, Waiting, halve
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


def keys_of(items: list[Item]) -> set[bytes]:
    """Whose they are."""
    return {one.key for one in items}


def drawn_from(waiting: Waiting, budget: int = BODY_MAX_BYTES) -> list[Item]:
    """The next batch, decided at once."""
    items = waiting.draw(budget).items
    waiting.release(keys_of(items))
    return items


def drain(
    operations: list[tuple[bytes, int, bool, bool]], budget: int
) -> tuple[list[Item], list[list[Item]], list[Item]]:
    """All items, the batches that they end in, each decided before the next is drawn, and the faults."""
    items = [
        item(key, size, barrier=barrier, fault=fault, number=number)
        for number, (key, size, barrier, fault) in enumerate(operations)
    ]
    waiting = Waiting(items)
    batches: list[list[Item]] = []
    faults: list[Item] = []
    while waiting:
        if waiting.has_faults:
            faults += (some := waiting.draw_faults())
            waiting.release(keys_of(some))
            continue
        draft = waiting.draw(budget)
        assert draft.items
        assert draft.body_bytes == len(join([one.body for one in draft.items]))
        batches.append(draft.items)
        waiting.release(keys_of(draft.items))
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
    assert [one.index for one in drawn_from(waiting) if one.key == b"ann"] == [0]
    assert [one.index for one in drawn_from(waiting) if one.key == b"ann"] == [1, 2]


def test_barriers_of_many_people_share_a_batch() -> None:
    """A thousand new people need two batches, not a thousand: only one's own operations wait for one's barrier."""
    waiting = Waiting(item(b"%d" % person, 100, barrier=first) for person in range(1000) for first in (True, False))
    assert len(drawn_from(waiting)) == 1000
    assert len(drawn_from(waiting)) == 1000


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
        waiting.release(keys_of(draft.items))


def steps_of(dice: random.Random) -> Iterator[Any]:
    """A hundred puts, draws and releases, then enough of them to empty what waits."""
    for _ in range(100):
        key, size = dice.choice([b"ann", b"bob", b"cid"]), dice.choice([9, 60, ITEM_MAX_BYTES, dice.randint(2, 9_000)])
        put = (key, size, dice.random() < 0.2, dice.random() < 0.2)
        yield dice.choice([put, put, put, dice.randint(0, BODY_MAX_BYTES), "one", "faults", "release", "keep"])
    yield from ["faults", BODY_MAX_BYTES, "release", "release"] * 100


@given(st.integers(0, 2**32 - 1))
def test_puts_draws_and_releases_in_turns(seed: int) -> None:
    """While batches are drawn with changing budgets, several in hand at once, nobody is in two of them, each key's
    operations leave in the order in which they came, and nothing is lost."""  # noqa: D205, D209 - one promise
    dice = random.Random(seed)
    waiting, number, in_hand = Waiting(), 0, list[list[Item]]()
    left, given_up = list[Item](), list[Item]()

    def take(items: list[Item]) -> None:
        assert keys_of(items).isdisjoint(one.key for batch in in_hand for one in batch)
        in_hand.append(items)
        left.extend(items)

    def release() -> None:
        waiting.release(keys_of(in_hand.pop(dice.randrange(len(in_hand)))))

    for step in steps_of(dice):
        if isinstance(step, tuple):
            key, size, barrier, fault = step
            waiting.put(item(key, size, barrier=barrier, fault=fault, number=number))
            number += 1
        elif step == "one":
            if (one := waiting.draw_one()) is not None:
                take([one])
        elif step == "faults":
            if waiting.has_faults:
                take(waiting.draw_faults())
        elif step == "release":
            if in_hand:
                release()
        elif step == "keep":
            given_up += waiting.keep(lambda one: one.index % 7 != 0)
        elif waiting.has_batch:
            draft = waiting.draw(step)
            assert draft.body_bytes == len(join([one.body for one in draft.items]))
            assert draft.body_bytes <= max(step, MIN_BUDGET_BYTES)
            for place, one in enumerate(draft.items):
                assert not (one.barrier and any(one.key == later.key for later in draft.items[place + 1 :]))
            take(draft.items)
        assert len(waiting) == number - len(left) - len(given_up)
    while in_hand:
        release()
    left += _all(waiting)
    assert not waiting
    assert sorted(one.index for one in [*left, *given_up]) == list(range(number))
    for key in (b"ann", b"bob", b"cid"):
        own = [one.index for one in left if one.key == key]
        assert own == sorted(own)


def _all(waiting: Waiting) -> list[Item]:
    """Everything, one after the other."""
    drawn: list[Item] = []
    while waiting:
        some = waiting.draw_faults() if waiting.has_faults else waiting.draw().items
        drawn += some
        waiting.release(keys_of(some))
    return drawn


def test_nobody_is_drawn_twice() -> None:
    """While somebody's operation is in hand, what else comes of theirs waits, and others' does not."""
    waiting = Waiting([item(b"ann", 9, number=0)])
    assert [one.index for one in waiting.draw().items] == [0]
    waiting.put(item(b"ann", 9, number=1))
    assert not waiting.has_batch
    waiting.put(item(b"bob", 9, number=2))
    assert waiting.draw().cause == "barrier"
    assert not waiting.has_batch
    waiting.release([b"ann"])
    assert [one.index for one in waiting.draw().items] == [1]


def test_nobody_passes_a_fault() -> None:
    """A record that never goes into a batch waits for its person's earlier operations, and later ones wait for it."""
    waiting = Waiting([item(b"ann", 9, number=0), item(b"ann", 9, fault=True, number=1), item(b"ann", 9, number=2)])
    assert [one.index for one in waiting.draw().items] == [0]
    assert not waiting.has_faults
    waiting.release([b"ann"])
    assert not waiting.has_batch
    assert [one.index for one in waiting.draw_faults()] == [1]
    waiting.release([b"ann"])
    assert [one.index for one in waiting.draw().items] == [2]


def test_in_hand_from_before() -> None:
    """What is in hand when an assignment begins is waited for as well."""
    waiting = Waiting([item(b"ann", 9)], in_hand=[b"ann"])
    assert waiting
    assert not waiting.has_batch
    waiting.release([b"ann", b"bob"])
    assert waiting.has_batch


def test_began() -> None:
    """Whoever waits for a batch, or for faults, is told when the first can be drawn, and again after the last was."""
    told: list[str] = []
    waiting = Waiting(began=lambda: told.append("batch"), faulty=lambda: told.append("faults"))
    for _ in range(2):
        waiting.put(item(b"ann", 9))
        waiting.put(item(b"bob", 9, fault=True))
        waiting.put(item(b"bob", 9, fault=True))
        waiting.put(item(b"ann", 9))
        waiting.draw_faults()
        waiting.draw()
        waiting.release([b"ann", b"bob"])
    assert told == ["batch", "faults"] * 2
    waiting.put(item(b"ann", 9, fault=True))
    waiting.put(item(b"ann", 9))
    waiting.draw_faults()
    assert told[4:] == ["faults"]
    waiting.release([b"ann"])
    assert told[5:] == ["batch"]
