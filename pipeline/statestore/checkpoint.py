"""The checkpoint: up to which changelog offset a store is current, also when its records come in several pieces."""

from __future__ import annotations


class Checkpoint:
    """`next_offset` is the first record that is not known; everything below it is.

    Usually our own writes follow each other. A gap between them is somebody else's record (an owner from before that
    was slow to notice), or one of ours whose offset the broker did not return: it must be read.
    """

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        self._beyond: list[tuple[int, int]] = []
        self._lost = False

    @property
    def has_gap(self) -> bool:
        """Whether there are records that can only be known by reading the topic."""
        return self._lost or bool(self._beyond)

    def add(self, start: int, stop: int) -> None:
        """The records from `start` to below `stop` are known."""
        if start > self.next_offset:
            self._beyond.append((start, stop))
            return
        self.next_offset = max(self.next_offset, stop)
        self._beyond.sort()
        while self._beyond and self._beyond[0][0] <= self.next_offset:
            self.next_offset = max(self.next_offset, self._beyond.pop(0)[1])

    def lose(self) -> None:
        """Records of ours lie somewhere behind `next_offset`, nobody knows where."""
        self._lost = True

    def found(self, stop: int) -> None:
        """The topic was read up to below `stop`, whatever was lost included."""
        self._lost = False
        self.add(self.next_offset, stop)
