"""Records how long topics were away, and how soon after their return their records flowed again.

Written in the consumer's thread, read in the worker's loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

RESUMES_WITHIN_S: Final = 15.0
"""From a topic's return to its records, where no state is to be restored. It is made of the next look at the topics
(3 s), its answer (2 s), a heartbeat by which the group's other members hear of the new partitions (1 s), and the last
commit before they join, although nothing is in flight of a topic that was away (3 s); the rest is the brokers'. The
client alone would look every five minutes. What takes longer is a warning."""


@dataclass(frozen=True, slots=True)
class TopicReturn:
    """A topic that is back.

    `away_s` is how long it was missed, `resumed_s` the time from when it was missed last until its records flow: that
    from its return, and at most what lies between two looks more.
    """

    topic: str
    away_s: float
    resumed_s: float


@dataclass(slots=True)
class _Absence:
    since: float
    until: float


class Absences:
    """The topics that are away or have just come back; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._absent: dict[str, _Absence] = {}

    def missed(self, topic: str) -> None:
        """It is not there, or is another one under its name than a look ago."""
        with self._lock:
            now = self._clock()
            self._absent.setdefault(topic, _Absence(now, now)).until = now

    def flowing(self, topics: Collection[str]) -> list[TopicReturn]:
        """Of these topics records flow: those of them that were missed until a moment ago, each once."""
        with self._lock:
            now = self._clock()
            backs = {topic: self._absent.pop(topic) for topic in sorted(topics) if topic in self._absent}
            return [TopicReturn(topic, one.until - one.since, now - one.until) for topic, one in backs.items()]
