"""The writes of one record over a store, before it is known whether the record can be processed at all.

A record that trips a bug of ours becomes a dead letter, and nothing of it may stay: its replay must find the state as
if it had never been.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.errors import InputError, PipelineError
from pipeline.statestore.store import KeyValueStore, merged, overlaid

_MISSING: Final = object()


def is_the_process_s(error: Exception) -> bool:
    """Whether an error is the process's trouble, or the state's, and would be that of every other record as well.

    What a person handed in is nobody's trouble but that record's.
    """
    return isinstance(error, MemoryError | PipelineError) and not isinstance(error, InputError)


class Draft:
    """A `KeyValueStore` over another, which sees nothing of it until `commit`."""

    __slots__ = ("_derived", "_store", "_values", "began_at_ms", "ownership")

    def __init__(self, store: KeyValueStore) -> None:
        self.began_at_ms = store.began_at_ms
        self.ownership = store.ownership
        self._store = store
        self._values: dict[bytes, bytes | None] = {}
        self._derived: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        put = self._values.get(key, _MISSING)
        return self._store.get(key) if put is _MISSING else put  # type: ignore[return-value]

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """See `KeyValueStore`."""
        stored = self._store.scan(prefix)
        if not self._values:
            return stored
        put = {key: (value, 0) for key, value in self._values.items() if key.startswith(prefix)}
        return merged(iter(stored), put, prefix) if put else stored

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        self._values[key] = value

    def derived(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        put = self._derived.get(key, _MISSING)
        return self._store.derived(key) if put is _MISSING else put  # type: ignore[return-value]

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterable[tuple[bytes, bytes]]:
        """See `KeyValueStore`."""
        kept = self._store.derived_between(start, stop, backwards=backwards)
        put = {key: (value, 0) for key, value in self._derived.items() if start <= key < stop}
        return overlaid(iter(kept), put, backwards=backwards) if put else kept

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        self._derived[key] = value

    @property
    def largest(self) -> int:
        """Bytes of the largest value, with its key, that would go to the changelog."""
        return max((len(key) + len(value) for key, value in self._values.items() if value is not None), default=0)

    def commit(self) -> None:
        """Put everything into the store below, in the order of the first puts."""
        put, put_derived = self._store.put, self._store.put_derived
        for key, value in self._values.items():
            put(key, value)
        for key, value in self._derived.items():
            put_derived(key, value)
