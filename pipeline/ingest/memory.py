"""A bound on the bodies that are in memory at once."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

MAX_HELD_BYTES: Final = 64 * 2**20
"""Unverified bodies included: without a bound a few hundred slow uploads of 900 kB end the process."""


class Memory:
    """How much of the bound is taken."""

    def __init__(self, limit_bytes: int = MAX_HELD_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Lease:
    """One request's share, given back when the context ends."""

    __slots__ = ("_bytes", "_memory")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._bytes = 0

    def take(self, size: int) -> bool:
        """Whether there is room for `size` bytes more; then they are taken."""
        if self._memory.held_bytes + size > self._memory.limit_bytes:
            return False
        self._memory.held_bytes += size
        self._bytes += size
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._memory.held_bytes -= self._bytes
        self._bytes = 0
