"""The watchdog of a worker: takes its vital signs at every beat, and keeps the timers of `pulse`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from faust.types import TP

from pipeline.watch.pulse import PATIENCE_S, PartitionPulse, Pulse, beat, live, ready
from pipeline.watch.vitals import Verdict, Vitals


class Watchdog:
    """Answers `live` and `ready` for a worker whose vital signs `vitals()` returns.

    `beat()` is called about once a second by the health server's loop, and by every probe, so that the verdict is right
    even if probes are rare.
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

    def beat(self) -> tuple[Vitals, Pulse]:
        """Take one snapshot; return it, and the timers after it."""
        vitals = self._vitals()
        self._pulse = beat(self._pulse, vitals, self._clock())
        return vitals, self._pulse

    def live(self) -> Verdict:
        """Whether the process should run on."""
        vitals, pulse = self.beat()
        return live(pulse, vitals, self._patience_s)

    def ready(self) -> Verdict:
        """Whether records can flow through this process now."""
        return ready(self.beat()[0])

    def partitions(self) -> Mapping[TP, PartitionPulse]:
        """The timers of each assigned partition."""
        return self.beat()[1].partitions

    def held_s(self) -> float:
        """Seconds for which the stage has held its records back, 0 while they flow."""
        return self.beat()[1].held_s

    def status(self) -> dict[str, Any]:
        """The vital signs and the worker's timers, for `/status`; the caller adds the partitions."""
        vitals, pulse = self.beat()
        hidden = {"places", "answers", "asked"}
        shown = {field.name: getattr(vitals, field.name) for field in fields(vitals) if field.name not in hidden}
        return {
            **shown,
            "unread": vitals.unread,
            "undelivered": vitals.undelivered,
            "uncommitted": vitals.uncommitted,
            "still_s": round(pulse.worst[1].still_s if pulse.worst else 0.0, 3),
            "moved_s": round(pulse.moved_s, 3),
            "held_s": round(pulse.held_s, 3),
            "outside_s": round(pulse.outside_s, 3),
            "thread_silent_s": round(pulse.silent_s, 3),
            "settling_s": round(pulse.settling_s, 3),
        }
