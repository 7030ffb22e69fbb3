"""What else the machine does while something is measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
IDLE: Final = (3, 4)
"""Columns of /proc/stat that are no work: idle and iowait (proc(5))."""

GUEST: Final = 8
"""From here on columns repeat what user and nice hold already."""


def busy_s() -> float:
    """Processor seconds that all cores have worked since boot, time stolen by the hypervisor included."""
    columns = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1 : 1 + GUEST]]
    return (sum(columns) - sum(columns[place] for place in IDLE)) / TICKS


class Others:
    """The share of the machine that goes to anything but the measured; `own_s` gives the processor seconds of that."""

    def __init__(self, own_s: Callable[[], float]) -> None:
        self._own_s = own_s
        self._began, self._busy_s, self._own = time.monotonic(), busy_s(), own_s()

    def percent(self) -> float:
        """Since it was made."""
        seconds = max(time.monotonic() - self._began, 1 / TICKS) * (os.cpu_count() or 1)
        return max(0.0, 100 * (busy_s() - self._busy_s - self._own_s() + self._own) / seconds)
