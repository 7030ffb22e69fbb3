"""Whose credentials are refused."""

from __future__ import annotations

from typing import Any

from pipeline.sink.doubt import Doubt
from pipeline.sink.item import Item


def items(*numbers: int, made: dict[int, Item] = {}) -> list[Item]:  # noqa: B006 - the same number is the same item
    """Operations by number."""
    nothing: Any = None
    return [made.setdefault(number, Item(nothing, b"{}", b"k", False, nothing, number, 0)) for number in numbers]


def test_four_that_have_nothing_in_common() -> None:
    """Four requests of other operations each, refused in a row: it is not for what one of them contains."""
    doubt = Doubt()
    assert [doubt.refused(items(n), n) for n in range(4)] == ["unknown"] * 3 + ["everybody's"]


def test_parts_of_one_batch_are_one() -> None:
    """A batch that is halved down to one operation, which is refused again and again, says nothing of others."""
    doubt = Doubt()
    for at, numbers in enumerate([range(8), range(4), range(2), range(1), range(1), range(1)]):
        assert doubt.refused(items(*numbers), at) == "unknown"


def test_an_acceptance_since_begins_anew() -> None:
    """Once anybody is accepted whose request left after the first refusal, the count starts again."""
    doubt = Doubt()
    for at in range(3):
        doubt.refused(items(at), at)
    doubt.accepted(0.5)
    assert doubt.refused(items(3), 3.5) == "unknown"
    assert [doubt.refused(items(n), n) for n in (4, 5, 6)] == ["unknown", "unknown", "everybody's"]


def test_an_acceptance_from_before_is_none() -> None:
    """A request that left before the first refusal and was accepted later says nothing: the key may be withdrawn."""
    doubt = Doubt()
    doubt.refused(items(0), 1.0)
    doubt.accepted(0.5)
    assert [doubt.refused(items(n), n) for n in (1, 2, 3)] == ["unknown", "unknown", "everybody's"]
