"""Doubt: whether refused credentials are refused to everybody, or to what one request holds. Pure.

A firewall or proxy in front of Customer.io answers 401 or 403, or redirects, for what an operation contains; a wrong
key is answered so too. A check of the key without operations would prove nothing: a firewall may block this sink's
address, and whatever has no content passes the rule that the content breaks. Only an operation that is accepted shows
that the key is good, and only others that are refused as well, with nothing accepted in between, that it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from pipeline.sink.item import Item

EVERYBODY: Final = 4
"""Requests without a common operation that are refused in a row, with nothing accepted in between: one content may be
blocked, four hardly are at the same time, and eight busy lanes show it at once."""

Whose = Literal["unknown", "everybody's"]


class Doubt:
    """The requests that were refused since something was accepted. Belongs to one event loop."""

    def __init__(self) -> None:
        self._suspects: list[frozenset[Item]] = []
        self._at = 0.0

    def accepted(self, begun: float) -> None:
        """A request that was sent at `begun` was accepted; one from before the first refusal proves nothing."""
        if begun >= self._at:
            self._suspects = []

    def moved(self) -> None:
        """The partitions were assigned anew: what was refused may come again, and would count twice."""
        self._suspects = []

    def refused(self, items: Iterable[Item], now: float) -> Whose:
        """The credentials of a request with these operations were refused at `now`.

        It is no new evidence when it is a part of one before; it is when it shares no operation with any.
        """
        if not self._suspects:
            self._at = now
        mine = frozenset(items)
        self._suspects = [mine, *(one for one in self._suspects if one.isdisjoint(mine))]
        return "everybody's" if len(self._suspects) >= EVERYBODY else "unknown"
