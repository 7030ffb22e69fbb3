"""The last events of a process: kept as they came, put into words only when somebody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from pipeline.watch.page.document import EVENTS, Event

T = TypeVar("T")


class Recent(Generic[T]):
    """Takes an event in a quarter of a microsecond, since a stage has thousands of them in a second.

    Args:
        show: makes a kept thing an `Event`, by when it was kept (unix ms); must mask what belongs to a person.
        clock: unix seconds.
    """

    def __init__(self, show: Callable[[int, T], Event], clock: Callable[[], float] = time.time) -> None:
        self._show = show
        self._clock = clock
        self._kept: deque[tuple[float, T]] = deque(maxlen=EVENTS)

    def add(self, thing: T) -> None:
        """Keep it, in the place of the oldest."""
        self._kept.append((self._clock(), thing))

    def events(self) -> list[Event]:
        """The last ones, newest first."""
        return [self._show(int(at_s * 1000), thing) for at_s, thing in reversed(self._kept)]
