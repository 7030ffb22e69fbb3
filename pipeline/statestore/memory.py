"""How much of this process's memory is mapped files."""

from __future__ import annotations

import os
from functools import cache
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def mapped_bytes() -> int:
    """Bytes of mapped files in memory beyond what the program itself had at the first call; 0 where nobody tells."""
    return max(_shared_pages() - _own_pages(), 0) * PAGE_BYTES


@cache
def _own_pages() -> int:
    return _shared_pages()


def _shared_pages() -> int:
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - asked for at every write
            return int(statm.read().split()[2])
    except OSError:
        return 0
