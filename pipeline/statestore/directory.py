"""The state directory of one partition: locked by one process, with a marker of a clean shutdown.

The directory is locked with `flock`, which ends with the process. A second process on the same machine (the old owner,
a frozen one that wakes up later) has a directory of its own: it must neither wait for the first one nor write beside
it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from pipeline import logs, private
from pipeline.statestore import marker

MAX_SLOTS: Final = 16
"""Processes of one machine that may hold a store of one partition at the same time."""

LOCK_WITHIN_S: Final = 3.0
"""For the partition's old owner on this machine, who is writing the last pages: its store saves a whole restore."""

LOCK_LOOK_S: Final = 0.05

SHORT_BYTES: Final = 64 * 4096
"""LMDB counts pages that it allocated and gave back before it wrote them; a file may end that much early."""

NONE_THERE: Final = "there is none"
"""Why a store is empty that has not been here before."""

DATA: Final = "data.mdb"
COPY: Final = "data.mdb.new"
MARK: Final = "mark.json"

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
        mark = marker.read(self.path / MARK)
        data = self.path / DATA
        fault = marker.fault_of(mark, data) if data.exists() else NONE_THERE
        if fault is not None:
            self.empty()
            mark = {}
        self._mark(clean=False, unclean=1 + marker.deaths(mark))
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
        self._mark(clean=True, unclean=0, bytes=data.stat().st_size, checksum=marker.checksum(data))

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
        """Mark the files as broken: the next process that takes the place throws them away, or finds it out again."""
        self.is_condemned = True
        with suppress(OSError):
            if self._is_held():
                self._mark(broken=True)

    def release(self) -> None:
        """Unlock the place for other processes."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _mark(self, **values: Any) -> None:
        marker.write(self.path / MARK, **values)
        _sync(self.path)


def sweep(base: Path) -> None:
    """Empty the places under `base` that nobody uses and that would not be trusted any more for their age."""
    for data in base.glob(f"*/{DATA}"):
        with suppress(OSError):
            if marker.is_too_old(data):
                empty_if_unused(base, data.parent.name)


def unused(base: Path, for_s: float) -> list[tuple[int, int]]:
    """The places under `base` that were not used for so many seconds, as partition and number of the place.

    Decided by the files' names alone: only `StateDirectory.take` finds out whether a process has one open.
    """
    found = []
    for directory in base.glob("*-*/"):
        partition, _, number = directory.name.rpartition("-")
        # One from the future was written by a clock that was wrong: nobody knows how long it would have to wait.
        if partition.isdigit() and number.isdigit() and abs(time.time() - _last_used(directory)) >= for_s:
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
    """Empty a place, unless a process has it locked."""
    if not (base / name).exists():
        return
    lock = _lock(base / f"{name}.lock")
    if lock is not None:
        shutil.rmtree(base / name, ignore_errors=True)
        os.close(lock)


def _sync(directory: Path) -> None:
    """Sync the directory: which files it has is on the disk then."""
    entry = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _lock(path: Path) -> int | None:
    """The open file that holds the lock; None when another process has it. The lock file is never removed."""
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
