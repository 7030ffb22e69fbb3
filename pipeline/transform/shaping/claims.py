"""`claims`: the decorator by which a user's function takes over types of webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from pipeline.transform.shaping.types import Event, Identify, Known, Shaped, Webhook

CLAIMS: Final = "claims"
"""The attribute of a function that holds the types that it claims."""

Returned = Shaped | Event | Identify | Iterable[Event | Identify]
Transform = Callable[[Webhook, Shaped, Known], Returned]
"""What a user writes. `default` returned as it is changes nothing; an empty list sends nothing."""

F = TypeVar("F", bound=Transform)


def claims(*types: str) -> Callable[[F], F]:
    """Have a function map these types, although the default mapping does not know them, or drops them.

    For a type that the default mapping does not know, `default` has only the identify.
    """

    def claiming(function: F) -> F:
        setattr(function, CLAIMS, frozenset(types))
        return function

    return claiming
