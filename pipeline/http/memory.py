"""Bounds the bodies that are in memory at once."""

from __future__ import annotations


class Memory:
    """Counts the bytes of all bodies, and of those that are not complete.

    Anybody can begin a body; a complete one is checked at once, and kept only if it is genuine. So incomplete ones have
    less room, and cannot take that of complete ones.
    """

    def __init__(self, incoming_bytes: int, held_bytes: int) -> None:
        self._incoming_limit, self._held_limit = incoming_bytes, held_bytes
        self.incoming_bytes = 0
        self.held_bytes = 0

    def take(self, size: int, *, complete: bool) -> bool:
        """Take room for `size` bytes more of a body; return whether there was enough."""
        held = self.held_bytes + size
        if held > self._held_limit or (not complete and self.incoming_bytes + size > self._incoming_limit):
            return False
        self.held_bytes = held
        if not complete:
            self.incoming_bytes += size
        return True

    def completed(self, size: int) -> None:
        """Note that so many of the taken bytes belong to a complete body now, or to none any more."""
        self.incoming_bytes -= size

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.held_bytes -= size
