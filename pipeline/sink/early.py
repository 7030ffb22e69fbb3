"""Early: profiles whose time is ahead of the clock wait until they may be sent; everything else goes on.

The transform gives each identify of a person a second of its own, since of two with one time Customer.io may take
either. A burst of them runs ahead of the clock, and a profile that is ahead is closed to whoever else writes it. So one
that is further ahead than two seconds carries from when on it may leave (`not-before`). Its place in the order does not
matter: the time in it decides, and whatever comes later has a later one. Only a request to remove the person must not
pass it, and so ends the wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from pipeline.kafka.records import NOT_BEFORE, Headers, int_header
from pipeline.sink.item import Item

MAX_HOLD_S: Final = 120.0
"""Longest wait: below what `/live` takes for standing still, should a clock be wrong. A hundred profiles of one person
in one second have come by then."""


class Early:
    """What waits for its time. Belongs to one event loop.

    Args:
        unix: unix seconds.
    """

    def __init__(self, unix: Callable[[], float] = time.time) -> None:
        self._unix = unix
        self._held: dict[Item, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._held)

    def delay_s(self, headers: Headers) -> float:
        """How long a record with these headers waits; 0: not at all."""
        due_s = int_header(headers, NOT_BEFORE)
        return 0.0 if due_s is None else max(0.0, min(due_s - self._unix(), MAX_HOLD_S))

    def hold(self, item: Item, delay_s: float, put: Callable[[Item], None]) -> None:
        """Keep it and `put` it when its time has come, unless it was taken back before."""
        self._held[item] = asyncio.get_running_loop().call_later(delay_s, self._due, item, put)

    def take_back(self, key: bytes | None = None) -> list[Item]:
        """What waits, of this person or of all: it waits no more."""
        items = [item for item in self._held if key is None or item.key == key]
        for item in items:
            self._held.pop(item).cancel()
        return items

    def _due(self, item: Item, put: Callable[[Item], None]) -> None:
        del self._held[item]
        put(item)
