"""When transforms read the customers' facts that their disks lacked, from what they logged.

How long that takes grows with the facts (docs/operating.md), and is no part of a takeover's limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from tests.chaos.season.record import Restored

ANEW: Final = "The local mirror of a partition is built anew from the topic"
RESTORED: Final = "Customers' state restored"
CALLED_OFF: Final = "The restore of the customers' state was called off; the next one goes on"
BROKEN_OFF: Final = "Starting"
"""The process was killed before it was done."""


def restores(directory: Path) -> tuple[Restored, ...]:
    """Of all transforms whose logs are in the directory."""
    return tuple(one for log in sorted(directory.glob("transform-*.log")) for one in _of(log))


def _of(log: Path) -> Iterator[Restored]:
    began_s: float | None = None
    for line in log.read_bytes().splitlines():
        told = _parsed(line)
        message = told.get("message")
        if message == ANEW and began_s is None:
            began_s = _at(told)
        elif message == RESTORED:
            ended_s = _at(told)
            if told["records"]:
                yield Restored(log.stem, ended_s - told["seconds"], ended_s)
            began_s = None
        elif message == CALLED_OFF:
            yield Restored(log.stem, _at(told) - told["seconds"], _at(told))
            began_s = None
        elif message == BROKEN_OFF:
            if began_s is not None:
                yield Restored(log.stem, began_s, _at(told))
            began_s = None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}  # the end of a process that was killed
    return told if isinstance(told, dict) else {}


def _at(told: dict[str, Any]) -> float:
    return datetime.fromisoformat(told["timestamp"]).timestamp()
