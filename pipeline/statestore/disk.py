"""Interprets errors of a store's files: they are broken, the machine lacks something, or neither.

Only what LMDB calls corrupt or of another version is the files' fault, and costs a restore. Where memory, open files or
room on the disk are short the files are as good as before: they stay, and the operator hears which limit to raise.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import lmdb

from pipeline.errors import SettingsError
from pipeline.settings import PREFIX

BROKEN: Final[tuple[type[lmdb.Error], ...]] = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)
"""What `lmdb.h` explains with corruption, an error of the tree itself, another version, or a file of something else. A
panic is none of it: that follows a write which failed, and ends with the process."""

REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "its disk is full: make room there, for bytes and for files (df, df -i)",
    errno.EDQUOT: "the disk quota of this user or directory is used up: raise it, or make room",
    errno.EFBIG: "a file may not grow so large: raise the limit of a file's size (ulimit -f, LimitFSIZE= of systemd), "
    "or take a file system that holds larger files",
    errno.EROFS: "its file system is read-only: mount it for writing; one that became so met an error before, which "
    "the kernel's log tells (dmesg)",
    errno.EIO: "its disk failed to read or write: see the kernel's log (dmesg). On another disk the mirrors are built "
    "anew from the topic",
    errno.ENOMEM: "the memory that this process may have is used up: raise the limit of its address space (ulimit -v, "
    "LimitAS= of systemd), the container's memory, or vm.max_map_count; each mirror maps its whole file",
    errno.EMFILE: "this process has too many open files: raise the limit (ulimit -n, LimitNOFILE= of systemd); each "
    "partition takes three beside its connections",
    errno.ENFILE: "the machine has too many open files: raise fs.file-max",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
}


NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PAGE: Final = bytes(4096)


def is_broken(error: Exception) -> bool:
    """Whether LMDB calls the file corrupt, of another version, or none of its own."""
    return isinstance(error, BROKEN)


def errno_of(error: Exception) -> int | None:
    """The operating system's `errno` behind the error; None when the error is not the system's."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    return code if isinstance(code, int) and code > 0 else None


def in_full(error: Exception, data: Path) -> Exception:
    """`error`, or what hides behind it: LMDB calls a write that the system did in part an input/output error.

    ("Short write, filesystem full?", in `mdb_page_flush`.) The next page shows it; LMDB does not look at what lies
    behind its last one.
    """
    if errno_of(error) != errno.EIO:
        return error
    try:
        with data.open("r+b", buffering=0) as stream:
            stream.seek(0, os.SEEK_END)
            stream.write(PAGE)
            stream.write(PAGE)  # the first may be done in part
    except OSError as told:
        if told.errno in NO_ROOM:
            return told
    return error


def unusable(directory: Path, error: Exception) -> SettingsError:
    """The error when the mirrors' directory cannot be used; the files in it stay."""
    what = REMEDIES.get(errno_of(error) or 0, "it cannot be used")
    return SettingsError(
        f"{PREFIX}DATA_DIR: {directory}: {what} ({error}). The customers' state is mirrored there; what lies there was "
        "kept"
    )
