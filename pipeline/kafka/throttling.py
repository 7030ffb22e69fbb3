"""Quotas of the brokers: that they hold this process back, for how long, and one line when it begins and when it ends.

Each answer has for how long the broker kept it back, or reads nothing more from the connection (KIP-219), since the
user or the client id is over its quota. Nothing is lost by it, and everything is later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest

from pipeline import logs

QUIET_S: Final = 60.0
"""So long without a throttled answer a spell is over. Quotas go by windows of a second, eleven of them by default
(`quota.window.num`), so within a spell there are answers that are not throttled."""

KINDS: Final = ("produce", "fetch", "other")
_KINDS: Final = {ProduceRequest: "produce", FetchRequest: "fetch"}

log = logs.get(__name__)


class Throttling:
    """Sums what brokers report in answers to any client of the process, in any thread; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._began: float | None = None
        self._last = 0.0
        self._in_spell = 0.0

    @property
    def seconds(self) -> Mapping[str, float]:
        """By kind of request, the sum of what the brokers reported."""
        return dict(self._seconds)

    def answered(self, request: Any, answer: Any, client_id: str) -> None:
        """A broker answered this request of the client."""
        throttled_ms = getattr(answer, "throttle_time_ms", 0)  # the oldest versions have no such field
        if throttled_ms or self._began is not None:
            self._note(_KINDS.get(type(request), "other"), throttled_ms / 1000, client_id)

    def _note(self, kind: str, throttled_s: float, client_id: str) -> None:
        now = self._clock()
        with self._lock:
            began, ended = False, self._began is not None and now - self._last > QUIET_S
            spell_s, throttled_for_s = self._last - (self._began or now), self._in_spell
            if ended:
                self._began = None
            if throttled_s > 0:
                began = self._began is None
                if began:
                    self._began, self._in_spell = now, 0.0
                self._last = now
                self._in_spell += throttled_s
                self._seconds[kind] += throttled_s
        if ended:
            log.info("The Kafka brokers throttle this client no more",
                     seconds=round(spell_s, 1), throttled_seconds=round(throttled_for_s, 1))  # fmt: skip
        if began:
            log.warning(
                "The Kafka brokers throttle this client: its user or client id is over a quota. Records are later and "
                "none is lost; raise the quota, or wait. This is told once a spell",
                request=kind, client_id=client_id, throttle_ms=round(throttled_s * 1000),
            )  # fmt: skip


throttling: Final = Throttling()
"""This process's, as its log is."""
