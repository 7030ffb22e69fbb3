"""What else the machine does while something is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")

IDLE: Final = (3, 4)
"""Columns of /proc/stat that are no work: idle and iowait (proc(5))."""

GUEST: Final = 8
"""From here on columns repeat what user and nice hold already."""

PARENT: Final = 1
CPU: Final = slice(11, 15)
"""Fields of /proc/<pid>/stat behind the name: user and system time, its own and of the children that it waited for."""


class Others:
    """The share of the machine that goes to anything but this process and what descends from it."""

    def __init__(self) -> None:
        self._began, self._busy_s, self._own_s = time.monotonic(), busy_s(), own_s()

    def percent(self) -> float:
        """Since it was made."""
        seconds = max(time.monotonic() - self._began, 1 / TICKS) * (os.cpu_count() or 1)
        return max(0.0, 100 * (busy_s() - self._busy_s - own_s() + self._own_s) / seconds)


def busy_s() -> float:
    """Processor seconds that all cores have worked since boot, time stolen by the hypervisor included."""
    columns = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1 : 1 + GUEST]]
    return (sum(columns) - sum(columns[place] for place in IDLE)) / TICKS


def own_s() -> float:
    """Processor seconds of this process and all that descend from it, those that ended included."""
    fields: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
    family = {os.getpid()}
    while more := {pid for pid, words in fields.items() if int(words[PARENT]) in family} - family:
        family |= more
    return sum(sum(map(int, fields[pid][CPU])) for pid in family if pid in fields) / TICKS
