"""The state directory of one partition: locked by one process, with a marker that says whether it was closed cleanly.

The directory is locked with `flock`, which ends with the process. A second process on the same machine (the old owner,
a frozen one that wakes up later) has a directory of its own: it must neither wait for the first one nor write beside
it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from pipeline import logs, private

MAX_SLOTS: Final = 16
"""Processes of one machine that may hold a store of one partition at the same time."""

LOCK_WITHIN_S: Final = 3.0
"""For the partition's old owner on this machine, who is writing the last pages: its store saves a whole restore."""

LOCK_LOOK_S: Final = 0.05

MAX_AWAY_S: Final = 14 * 86_400
"""An older store is not used: compaction may have removed tombstones that it never saw (`delete.retention.ms` of the
topic is 30 days), and what was deleted would live on in it."""

MAX_UNCLEAN: Final = 3
"""Times in a row that a process died over the same files before they are suspected to be the reason."""

SHORT_BYTES: Final = 64 * 4096
"""LMDB counts pages that it allocated and gave back before it wrote them; a file may end that much early."""

NONE_THERE: Final = "there is none"
"""Why a store is empty that has not been here before."""

FORMAT: Final = 2
"""Raised with whatever older files may hold and this version's must not: 2 has only values that passed `validation`."""
DATA: Final = "data.mdb"
COPY: Final = "data.mdb.new"
MARK: Final = "mark.json"
PIECE_BYTES: Final = 1024 * 1024

log = logs.get(__name__)


class StateDirectory:
    """A directory that belongs to this process until `release`: `lock` is the open file that is locked."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.is_condemned = False
        self._lock = lock

    @property
    def is_first(self) -> bool:
        """Whether nobody else had the first place."""
        return self.path.name.endswith("-0")

    @property
    def _lock_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    def _is_held(self) -> bool:
        """Whether the lock is the one that others would ask for; it may have been removed."""
        try:
            return os.path.samestat(self._lock_file.stat(), os.fstat(self._lock))
        except FileNotFoundError:
            return False

    @classmethod
    def take(cls, base: Path, name: str) -> Self:
        """The first free place for `name` under `base`; waits a moment for the first one, and never for long.

        Places that nobody uses any more are emptied: what they hold would stay behind for ever.

        Raises:
            OSError: the directory cannot be used.
        """
        private.directory(base)
        ends = time.monotonic() + LOCK_WITHIN_S
        while (lock := _lock(base / f"{name}-0.lock")) is None and time.monotonic() < ends:
            time.sleep(LOCK_LOOK_S)
        number = 0
        while lock is None:
            number += 1
            if number == MAX_SLOTS:
                raise OSError(f"{MAX_SLOTS} processes use mirrors of partition {name}")
            lock = _lock(base / f"{name}-{number}.lock")
        if number == 0:
            for other in range(1, MAX_SLOTS):
                empty_if_unused(base, f"{name}-{other}")
        directory = base / f"{name}-{number}"
        private.directory(directory)
        private.file(directory / DATA, create=False)
        return cls(directory, lock)

    @classmethod
    def claim(cls, base: Path, name: str) -> Self | None:
        """The first place for `name`, if there is one and no process has it.

        Raises:
            OSError: the directory cannot be used.
        """
        directory = base / f"{name}-0"
        if not directory.is_dir() or (lock := _lock(base / f"{name}-0.lock")) is None:
            return None
        return cls(directory, lock)

    def begin(self) -> str | None:
        """Mark the files as in use; None when they are whole, else why they were thrown away.

        Raises:
            OSError: the directory cannot be used.
        """
        self.drop_copy()  # of a process that died over it
        mark = _read_mark(self.path / MARK)
        fault = self._fault(mark) if (self.path / DATA).exists() else NONE_THERE
        if fault is not None:
            self.empty()
            mark = {}
        self._mark(clean=False, unclean=1 + _count(mark))
        return fault

    def healthy(self) -> None:
        """The files are none to suspect: they have been in use for a while, or it is the machine that lacks something.

        Where that is room for this mark, there is none either for the mark by which they would be suspected.
        """
        with suppress(OSError):
            if self._is_held():
                self._mark(clean=False, unclean=0)

    def end(self) -> None:
        """Mark the files, which nobody has open any more and which are on the disk, as whole."""
        data = self.path / DATA
        self._mark(clean=True, unclean=0, bytes=data.stat().st_size, checksum=_checksum(data))

    def take_copy(self) -> None:
        """Let the copy take the place of the file: whole, or not at all, whenever the machine goes down."""
        (self.path / COPY).replace(self.path / DATA)
        _sync(self.path)

    def drop_copy(self) -> None:
        """Throw a copy away, where there is one, and where the place is still this process's."""
        with suppress(FileNotFoundError):
            if self._lock >= 0 and self._is_held():
                (self.path / COPY).unlink()

    def remove(self) -> None:
        """Throw the files away, and their place."""
        if self._is_held():
            shutil.rmtree(self.path)

    def empty(self) -> None:
        """Throw the files away.

        Raises:
            OSError: they cannot be removed, or the place was, and is another process's by now.
        """
        self._hold()
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)
        private.directory(self.path)
        self.is_condemned = False

    def _hold(self) -> None:
        """Lock the place again when its lock was removed along with it."""
        if self._is_held():
            return
        private.directory(self._lock_file.parent)
        lock = _lock(self._lock_file)
        if lock is None:
            raise OSError(errno.EBUSY, "its lock was removed, and another process has it", str(self._lock_file))
        os.close(self._lock)
        self._lock = lock

    def condemn(self) -> None:
        """The files turned out to be broken: whoever takes the place next throws them away, or finds it out again."""
        self.is_condemned = True
        with suppress(OSError):
            if self._is_held():
                self._mark(broken=True)

    def release(self) -> None:
        """Let others have the place."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _fault(self, mark: dict[str, Any]) -> str | None:
        data = self.path / DATA
        if mark.get("format") != FORMAT:
            return "it is of another version, or not ours"
        if mark.get("broken"):
            return "it was found broken"
        if time.time() - data.stat().st_mtime > MAX_AWAY_S:
            return f"it was not used for {MAX_AWAY_S // 86_400} days"
        if mark.get("clean"):
            whole = mark.get("bytes") == data.stat().st_size and mark.get("checksum") == _checksum(data)
            return None if whole else "its file is not the one that was closed"
        if not _boot_id() or mark.get("boot") != _boot_id():
            return "the machine went down while it was open"
        if _count(mark) >= MAX_UNCLEAN:
            return f"{MAX_UNCLEAN} processes in a row died soon after they had opened it"
        return None

    def _mark(self, **values: Any) -> None:
        text = json.dumps({"format": FORMAT, "boot": _boot_id(), **values})
        unfinished = self.path / f"{MARK}.new"
        with unfinished.open("w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.path / MARK)
        _sync(self.path)


def sweep(base: Path) -> None:
    """Empty the places under `base` that nobody uses and that would not be trusted any more for their age."""
    for data in base.glob(f"*/{DATA}"):
        with suppress(OSError):
            if time.time() - data.stat().st_mtime > MAX_AWAY_S:
                empty_if_unused(base, data.parent.name)


def unused(base: Path, for_s: float) -> list[tuple[int, int]]:
    """The places under `base` that were not used for so many seconds, as partition and number of the place.

    By the files: whether a process has them is what `StateDirectory.take` tells.
    """
    found = []
    for directory in base.glob("*-*/"):
        partition, _, number = directory.name.rpartition("-")
        if partition.isdigit() and number.isdigit() and time.time() - _last_used(directory) >= for_s:
            found.append((int(partition), int(number)))
    return sorted(found)


def _last_used(directory: Path) -> float:
    """When a process wrote there last, unix seconds."""
    times = [0.0]
    for name in (MARK, DATA):
        with suppress(OSError):
            times.append((directory / name).stat().st_mtime)
    return max(times)


def empty_if_unused(base: Path, name: str) -> None:
    """Throw away what lies in a place, unless a process has it."""
    if not (base / name).exists():
        return
    lock = _lock(base / f"{name}.lock")
    if lock is not None:
        shutil.rmtree(base / name, ignore_errors=True)
        os.close(lock)


def _sync(directory: Path) -> None:
    """Bring to the disk which files a directory has."""
    entry = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _lock(path: Path) -> int | None:
    """The open file that holds the lock; None when another process has it. The file itself stays for good."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private.FILE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file


def _read_mark(path: Path) -> dict[str, Any]:
    try:
        mark = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _count(mark: dict[str, Any]) -> int:
    unclean = mark.get("unclean", 0)
    return unclean if isinstance(unclean, int) else MAX_UNCLEAN


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _checksum(path: Path) -> int:
    """CRC-32: against a torn or tampered file, not against an attacker. 100 MB take 35 ms."""
    checksum = 0
    for piece in _pieces(path):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _boot_id() -> str:
    """Changes with every boot of the machine; what was written before it may not have reached the disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""  # no Linux: a store that was not closed is never trusted
