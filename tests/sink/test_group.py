"""A group of operations stays in order, and keeps what is known of it, when some are taken away."""

from __future__ import annotations

from typing import Any

from pipeline.sink.group import Group
from pipeline.sink.item import Item


def item(number: int) -> Item:
    """An operation."""
    nothing: Any = None
    return Item(nothing, b"{%d}" % number, b"ann", False, nothing, number, 0, None)


def test_all_are_wanted() -> None:
    """Then it is the same group: its body is joined already, and its attempts count on."""
    group = Group([item(0), item(1)], attempts=3)
    assert group.kept(lambda _: True) == (group, [])


def test_some_are_wanted() -> None:
    """They stay in order with what is known of their attempts; the others are given back, in order as well."""
    group = Group([item(number) for number in range(5)], attempts=3, failures=2, slow=1, resent=True)
    kept, others = group.kept(lambda one: one.index % 2 == 1)
    assert kept is not None
    assert [one.index for one in kept.items] == [1, 3]
    assert (kept.attempts, kept.slow, kept.resent, kept.failures) == (3, 1, True, 0)
    assert [one.index for one in others] == [0, 2, 4]


def test_none_is_wanted() -> None:
    """No group is left without an operation."""
    kept, others = Group([item(0), item(1)]).kept(lambda _: False)
    assert (kept, [one.index for one in others]) == (None, [0, 1])


def test_what_is_left_has_a_body_of_its_own() -> None:
    """The bytes are those of the operations that are left, however often they were joined before."""
    items = [item(0), item(1)]
    group = Group(items)
    before = group.body
    alone = group.take_out(items[0])
    assert (alone.body, group.body) == (Group([items[0]]).body, Group([items[1]]).body)
    assert before == Group(items).body
