"""Measures how much of this process's memory is mapped files."""

from __future__ import annotations

import os
from functools import cache
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LINE_BYTES: Final = 256
"""More than seven numbers of 64 bits have in text."""


def mapped_bytes() -> int:
    """Bytes of mapped files in memory beyond what the program itself had at the first call; 0 without a figure."""
    return max(_shared_pages() - _own_pages(), 0) * PAGE_BYTES


@cache
def _own_pages() -> int:
    return _shared_pages()


def _shared_pages() -> int:
    try:
        return int(os.pread(_statm(os.getpid()), LINE_BYTES, 0).split()[2])
    except OSError:
        return 0


@cache
def _statm(_pid: int) -> int:
    """The open file, which makes its text anew for each read: it is asked at every write. Of a process: a child's own.

    Raises:
        OSError: there is none.
    """
    return os.open("/proc/self/statm", os.O_RDONLY)
