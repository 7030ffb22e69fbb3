"""Whose operation goes before a suspect."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sink.batching import Waiting
from pipeline.sink.group import Group
from pipeline.sink.item import Fault, Item
from pipeline.sink.suspects import set_aside


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
    waiting = Waiting([item("bob", 4), item("cid", 5)])
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
    waiting = Waiting([junk, item("bob", 2), item("cid", 3)])
    stack = [Group([item("ann", 0)])]
    assert set_aside(stack, waiting)
    assert shape(stack) == [[3], [0]]
    assert not set_aside(stack, waiting)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.sampled_from("abcd"), max_size=6),
    st.integers(1, 12),
)
def test_nobody_is_overtaken_by_oneself(groups: list[list[str]], behind: list[str], times: int) -> None:
    """Nothing is lost or doubled, and each person's operations stay in order."""
    numbers = iter(range(1000))
    stack = [Group([item(key, next(numbers)) for key in keys]) for keys in groups][::-1]
    waiting = Waiting(item(key, next(numbers)) for key in behind)
    for _ in range(times):
        set_aside(stack, waiting)
        order = [one for group in reversed(stack) for one in group.items] + list(waiting)
        assert sorted(one.index for one in order) == list(range(sum(map(len, groups)) + len(behind)))
        for key in "abcd":
            own = [one.index for one in order if one.key == key.encode()]
            assert own == sorted(own)
