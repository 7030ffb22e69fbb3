"""Brokers that do not answer this process: one line when the first goes, one when all that are left answer again.

A process has several clients (consumer, producer, readers), each with its own connections and, in aiokafka, its own
line for each attempt. What they meet is one incident, so it is logged once, here; `noise` drops the clients' lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from pipeline import logs

AFTERMATH_S: Final = 15.0
"""For so long after the end the clients still talk of it: coordinators are looked for, heartbeats refused."""

log = logs.get(__name__)


class Outage:
    """Called by each client of the process, from any thread; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._away: set[str] = set()
        self._began_at = 0.0
        self._over_at = float("-inf")
        self._left_out = 0
        self._reason = ""
        self.watched = False
        """Whether a client of this process reports here; else the lines of the clients are all that there is."""

    @property
    def lately(self) -> bool:
        """Whether brokers are away, or were a moment ago."""
        return bool(self._away) or self._clock() - self._over_at < AFTERMATH_S

    def refused(self, broker: str, *, others: int) -> None:
        """No connection to `broker` (host:port); `others` is how many more the cluster has."""
        with self._lock:
            begins = not self._away
            self._away.add(broker)
            if not begins:
                return
            self._began_at = self._clock()
        log.warning(
            "A Kafka broker does not answer; it is tried again and again, and this is told once",
            broker=broker, reason=self._reason, other_brokers=others,
        )  # fmt: skip

    def answered(self, broker: str) -> None:
        """A connection to `broker` was made."""
        if broker in self._away:
            self._gone(lambda other: other == broker)

    def known(self, brokers: Collection[str]) -> None:
        """The cluster has these brokers now; one that was taken out of it is not missed any more."""
        if not self._away.issubset(brokers):
            self._gone(lambda other: other not in brokers)

    def left_out(self, reason: str = "") -> None:
        """A client's line about it was dropped; `reason` is why there was no connection, if that is what it logged."""
        self._left_out += 1
        self._reason = reason or self._reason

    def _gone(self, which: Callable[[str], bool]) -> None:
        with self._lock:
            before = bool(self._away)
            self._away = {broker for broker in self._away if not which(broker)}
            if self._away or not before:
                return
            self._over_at = self._clock()
            seconds, lines, self._left_out = self._over_at - self._began_at, self._left_out, 0
        log.info("All Kafka brokers answer", seconds=round(seconds, 1), client_lines_left_out=lines)


outage: Final = Outage()
"""This process's, as its log is."""
