"""A bound on the bodies that are in memory at once."""

from __future__ import annotations


class Memory:
    """How much of it is taken: by all bodies, and by those that are not complete.

    Anybody can begin a body; a complete one is judged at once, and kept only if it is genuine. So the former have less
    room, and cannot take that of the latter.
    """

    def __init__(self, incoming_bytes: int, held_bytes: int) -> None:
        self._incoming_limit, self._held_limit = incoming_bytes, held_bytes
        self.incoming_bytes = 0
        self.held_bytes = 0

    def take(self, size: int, *, complete: bool) -> bool:
        """Whether there is room for `size` bytes more of a body; then they are taken."""
        held = self.held_bytes + size
        if held > self._held_limit or (not complete and self.incoming_bytes + size > self._incoming_limit):
            return False
        self.held_bytes = held
        if not complete:
            self.incoming_bytes += size
        return True

    def completed(self, size: int) -> None:
        """So much of what was taken belongs to a complete body now, or to none any more."""
        self.incoming_bytes -= size

    def release(self, size: int) -> None:
        """Give back."""
        self.held_bytes -= size
