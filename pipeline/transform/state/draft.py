"""What one record leaves behind, before it is known whether the record can be judged at all.

A webhook that trips a bug of ours becomes a dead letter, and nothing of it may stay: its replay must find the state as
if it had never been.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.errors import InputError, PipelineError
from pipeline.transform.state.shelf import Shelf, merged, overlaid

_MISSING: Final = object()


def is_the_process_s(error: Exception) -> bool:
    """Whether an error is the process's trouble, or the state's, and would be that of every other record as well.

    What a person handed in is nobody's trouble but that record's.
    """
    return isinstance(error, MemoryError | PipelineError) and not isinstance(error, InputError)


class Draft:
    """A `Shelf` over another, which sees nothing of it until `commit`."""

    __slots__ = ("_facts", "_sheets", "_shelf", "began_at_ms", "ownership")

    def __init__(self, shelf: Shelf) -> None:
        self.began_at_ms = shelf.began_at_ms
        self.ownership = shelf.ownership
        self._shelf = shelf
        self._facts: dict[bytes, bytes | None] = {}
        self._sheets: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        put = self._facts.get(key, _MISSING)
        return self._shelf.get(key) if put is _MISSING else put  # type: ignore[return-value]

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """See `Shelf`."""
        stored = self._shelf.scan(prefix)
        if not self._facts:
            return stored
        put = {key: (value, 0) for key, value in self._facts.items() if key.startswith(prefix)}
        return merged(iter(stored), put, prefix) if put else stored

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `Shelf`."""
        self._facts[key] = value

    def sheet(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        put = self._sheets.get(key, _MISSING)
        return self._shelf.sheet(key) if put is _MISSING else put  # type: ignore[return-value]

    def entries(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterable[tuple[bytes, bytes]]:
        """See `Shelf`."""
        kept = self._shelf.entries(start, stop, backwards=backwards)
        put = {key: (value, 0) for key, value in self._sheets.items() if start <= key < stop}
        return overlaid(iter(kept), put, backwards=backwards) if put else kept

    def keep(self, key: bytes, sheet: bytes | None) -> None:
        """See `Shelf`."""
        self._sheets[key] = sheet

    def commit(self) -> None:
        """Put everything onto the shelf, in the order of the first puts."""
        put, keep = self._shelf.put, self._shelf.keep
        for key, value in self._facts.items():
            put(key, value)
        for key, sheet in self._sheets.items():
            keep(key, sheet)
