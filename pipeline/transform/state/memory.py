"""How much memory this process has taken for its mirrors."""

from __future__ import annotations

import os
from functools import cache
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def mapped_bytes() -> int:
    """Bytes of mapped files in memory beyond what the program itself had at the first call; 0 where nobody tells."""
    return max(_pages()[1] - _own_pages()[1], 0) * PAGE_BYTES


def grown_bytes() -> int:
    """The same of all memory, what Kafka's clients have grown by included."""
    return max(_pages()[0] - _own_pages()[0], 0) * PAGE_BYTES


@cache
def _own_pages() -> tuple[int, int]:
    return _pages()


def _pages() -> tuple[int, int]:
    """Resident pages, and those of them that belong to mapped files."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - asked for at every write
            _, resident, shared, *_ = statm.read().split()
            return int(resident), int(shared)
    except OSError:
        return 0, 0
