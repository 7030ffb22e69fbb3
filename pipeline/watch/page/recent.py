"""Keeps the last events of a process as they are; they are turned into text only when somebody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from pipeline.watch.page.document import EVENTS, Event

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the last events; to add one takes a quarter of a microsecond, since a stage has thousands in a second.

    Args:
        show: makes an `Event` of a kept thing and the time at which it was added (unix ms); must mask personal data.
        clock: unix seconds.
    """

    def __init__(self, show: Callable[[int, T], Event], clock: Callable[[], float] = time.time) -> None:
        self._show = show
        self._clock = clock
        self._kept: deque[tuple[float, T]] = deque(maxlen=EVENTS)

    def add(self, thing: T) -> None:
        """Add a thing, in place of the oldest."""
        self._kept.append((self._clock(), thing))

    def events(self) -> list[Event]:
        """The last ones, newest first."""
        return [self._show(int(at_s * 1000), thing) for at_s, thing in reversed(self._kept)]
