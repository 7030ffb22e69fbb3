"""The watchdog of a worker: takes its vital signs at every beat and remembers the pulse."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pipeline.watch.vitals import PATIENCE_S, Pulse, Verdict, Vitals, beat, live, ready


class Watchdog:
    """Answers `live` and `ready` for a worker whose vital signs `vitals()` returns.

    `beat()` is called about once a second by the health server's loop and by every question, so that the verdict is
    right however seldom somebody asks.
    """

    def __init__(
        self,
        vitals: Callable[[], Vitals],
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vitals = vitals
        self._patience_s = patience_s
        self._clock = clock
        self._pulse: Pulse | None = None

    def beat(self) -> Vitals:
        """Look once; returns what was seen."""
        vitals = self._vitals()
        self._pulse = beat(self._pulse, vitals, self._clock())
        return vitals

    def live(self) -> Verdict:
        """Whether the process is worth keeping."""
        vitals = self.beat()
        assert self._pulse is not None  # noqa: S101 - set by beat() on the line above
        return live(self._pulse, vitals, self._patience_s)

    def ready(self) -> Verdict:
        """Whether records can flow through this process now."""
        return ready(self.beat())

    def status(self) -> dict[str, Any]:
        """The vital signs and the pulse, for `/status`."""
        vitals = self.beat()
        assert self._pulse is not None  # noqa: S101 - set by beat() on the line above
        return {**asdict(vitals), "idle_s": round(self._pulse.idle_s, 3), "outside_s": round(self._pulse.outside_s, 3)}
