"""The clean-shutdown marker beside a store's file: whether the file is whole, and why not."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

MAX_AWAY_S: Final = 14 * 86_400
"""An older store is not used: compaction may have removed tombstones that it never saw (`delete.retention.ms` of the
topic is 30 days), and what was deleted would live on in it."""

MAX_UNCLEAN: Final = 3
"""Times in a row that a process died over the same files before they are suspected to be the reason."""

FORMAT: Final = 2
"""Raised with whatever older files may hold and this version's must not: 2 has only values that passed `validation`."""
PIECE_BYTES: Final = 1024 * 1024


def read(path: Path) -> dict[str, Any]:
    """What the marker holds; nothing when there is none, or it cannot be read."""
    try:
        mark = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def write(path: Path, **values: Any) -> None:
    """Write the marker, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps({"format": FORMAT, "boot": _boot_id(), **values})
    unfinished = path.with_name(f"{path.name}.new")
    with unfinished.open("w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def fault_of(mark: Mapping[str, Any], data: Path) -> str | None:
    """Why the file `data` is not to be trusted, by its marker; None when it is."""
    if mark.get("format") != FORMAT:
        return "it is of another version, or not ours"
    if mark.get("broken"):
        return "it was found broken"
    if is_too_old(data):
        return f"it was not used for {MAX_AWAY_S // 86_400} days, or a clock was wrong by as much"
    if mark.get("clean"):
        whole = mark.get("bytes") == data.stat().st_size and mark.get("checksum") == checksum(data)
        return None if whole else "its file is not the one that was closed"
    if not _boot_id() or mark.get("boot") != _boot_id():
        return "the machine went down while it was open"
    if deaths(mark) >= MAX_UNCLEAN:
        return f"{MAX_UNCLEAN} processes in a row died soon after they had opened it"
    return None


def is_too_old(data: Path) -> bool:
    """Whether the file `data` was written too long ago, or by a clock that was as far ahead.

    Age and error together stay below the time for which the topic keeps tombstones.

    Raises:
        OSError: there is no such file.
    """
    return abs(time.time() - data.stat().st_mtime) > MAX_AWAY_S


def deaths(mark: Mapping[str, Any]) -> int:
    """How many processes in a row have not closed the file."""
    unclean = mark.get("unclean", 0)
    return unclean if isinstance(unclean, int) else MAX_UNCLEAN


def checksum(path: Path) -> int:
    """CRC-32: against a torn or tampered file, not against an attacker. 100 MB take 35 ms."""
    found = 0
    for piece in _pieces(path):
        found = zlib.crc32(piece, found)
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _boot_id() -> str:
    """Changes with every boot of the machine; what was written before it may not have reached the disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""  # no Linux: a store that was not closed is never trusted
