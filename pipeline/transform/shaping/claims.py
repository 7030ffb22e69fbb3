"""How a user's function says which types are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, Webhook

CLAIMS: Final = "claims"
"""The attribute of a function."""

Returned = Shaped | Event | Identify | Iterable[Event | Identify]
Transform = Callable[[Webhook, Shaped, Known], Returned]
"""What a user writes. `default` returned as it is changes nothing; an empty list sends nothing."""

F = TypeVar("F", bound=Transform)


def claims(*types: str) -> Callable[[F], F]:
    """Say that a function maps these types although the default mapping does not know them, or drops them.

    Of a type that is not known `default` has the identify alone.
    """

    def claiming(function: F) -> F:
        setattr(function, CLAIMS, frozenset(types))
        return function

    return claiming
