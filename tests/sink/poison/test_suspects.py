"""Whose operation goes before a suspect."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.batching import Waiting
from pipeline.sink.group import Group
from pipeline.sink.item import Fault, Item
from pipeline.sink.poison.suspects import others_fail, refused_alike, set_aside


def item(key: str, number: int, fault: Fault | None = None) -> Item:
    """An operation of `key`."""
    nothing: Any = None
    return Item(nothing, b"{}", key.encode(), False, nothing, number, 0, fault)


def shape(stack: list[Group]) -> list[list[int]]:
    """The numbers of each group, the next one first."""
    return [[one.index for one in group.items] for group in reversed(stack)]


def test_from_the_stack_then_from_the_lane_then_in_turns() -> None:
    """Another person's operation comes from the batch, then from what waits; with none left the suspects take turns."""
    stack = [Group([item("ann", 1), item("bob", 2), item("ann", 3)]), Group([item("ann", 0)])]
    waiting = Waiting([item("bob", 4), item("cid", 5)], in_hand=[b"ann", b"bob"])
    assert set_aside(stack, waiting)
    assert shape(stack) == [[2], [0], [1, 3]]
    assert set_aside(stack, waiting)
    assert shape(stack) == [[5], [2], [0], [1, 3]]
    assert [one.index for one in waiting] == [4]
    assert not set_aside(stack, waiting)
    assert shape(stack) == [[0], [5], [2], [1, 3]]


def test_nobody_passes_a_record_of_ones_own_that_is_no_operation() -> None:
    """Who waits behind a record that becomes a dead letter is not taken out before it."""
    junk = item("bob", 1, Fault("unreadable", "no JSON"))
    waiting = Waiting([junk, item("bob", 2), item("cid", 3)], in_hand=[b"ann"])
    stack = [Group([item("ann", 0)])]
    assert set_aside(stack, waiting)
    assert shape(stack) == [[3], [0]]
    assert not set_aside(stack, waiting)


def test_out_of_the_batch_itself() -> None:
    """A batch that holds everybody there is gives its own operations, the first of each person first."""
    stack = [Group([item("ann", 0), item("ann", 1), item("bob", 2)])]
    assert set_aside(stack, Waiting())
    assert shape(stack) == [[0], [1, 2]]
    assert set_aside(stack, Waiting()), "ann's first is ahead: bob's tells as well"
    assert shape(stack) == [[2], [0], [1]]
    assert not set_aside(stack, Waiting())
    assert shape(stack) == [[0], [2], [1]], "whose turn it is never passes an earlier one of the same person"


def test_a_batch_has_its_turn() -> None:
    """At every second failure a batch that was set aside goes before yet another person's operation."""
    stack = [Group([item("ann", 0), item("bob", 1)], failures=5)]
    waiting = Waiting([item("cid", 2), item("dan", 3)])
    for failures, expected in ((6, [[2], [0, 1]]), (7, [[0, 1], [2]]), (8, [[3], [0, 1], [2]])):
        stack[-1].failures = failures
        assert set_aside(stack, waiting)
        assert shape(stack) == expected


def test_refused_alike() -> None:
    """People are counted whose operations were last refused in the same words, once each, oneself included."""
    mine = Group([item("ann", 0)], refused_at=1.0, refused_as=b"bad")
    others = [
        Group([item("bob", 1), item("bob", 2), item("cid", 3)], refused_at=1.0, refused_as=b"bad"),
        Group([item("dan", 4)], refused_at=1.0, refused_as=b"worse"),
        Group([item("eve", 5)]),
    ]
    assert refused_alike([mine, *others], mine) == 3
    assert refused_alike([], mine) == 1


def test_others_fail() -> None:
    """Whoever is another person, and failed or was refused, fails too; one's own later operations do not count."""
    mine = Group([item("ann", 0)], failures=3)
    assert not others_fail([mine, Group([item("ann", 1)], failures=1), Group([item("bob", 2)])], mine)
    assert others_fail([mine, Group([item("bob", 2)], failures=1)], mine)
    assert others_fail([mine, Group([item("bob", 2)], refused_at=0.0)], mine)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.sampled_from("abcd"), max_size=6),
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=16),
)
def test_nobody_is_overtaken_by_oneself(
    groups: list[list[str]], behind: list[str], steps: list[tuple[int, bool]]
) -> None:
    """Nothing is lost or doubled, and each person's operations stay in order, whatever passes in between."""
    numbers = iter(range(1000))
    stack = [Group([item(key, next(numbers)) for key in keys]) for keys in groups][::-1]
    waiting = Waiting((item(key, next(numbers)) for key in behind), in_hand={one.key for g in stack for one in g.items})
    total, sent = sum(map(len, groups)) + len(behind), list[Item]()
    for failures, passes in steps:
        if not stack:
            break
        if passes:
            sent += stack.pop().items
        else:
            stack[-1].failures = failures
            set_aside(stack, waiting)
        order = sent + [one for group in reversed(stack) for one in group.items] + list(waiting)
        assert sorted(one.index for one in order) == list(range(total))
        assert all(group.items for group in stack)
        for key in "abcd":
            own = [one.index for one in order if one.key == key.encode()]
            assert own == sorted(own)
