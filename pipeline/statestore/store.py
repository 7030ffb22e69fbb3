"""The key-value interface of a state store, and one in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from operator import gt, lt
from typing import Protocol

from pipeline.statestore.ownership import Ownership
from pipeline.statestore.schema import SEPARATOR


class KeyValueStore(Protocol):
    """The state of one partition: keys and values, which the store never understands.

    Read-your-writes: what was put is read back at once, before it is durable, so two records of one chunk see each
    other. Beside the values, which go to the changelog, it keeps derived values, which follow from them.
    """

    @property
    def began_at_ms(self) -> int:
        """When this partition's state began to collect, unix milliseconds."""

    @property
    def ownership(self) -> Ownership | None:
        """Which partition of how many it is of; None where there is one place for all groups."""

    def get(self, key: bytes) -> bytes | None:
        """The value, None when there is none."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The values whose keys begin with `prefix`, in the order of keys; read lazily, so the first few cost little.

        Nothing is put while a scan is being read.
        """

    def put(self, key: bytes, value: bytes | None) -> None:
        """Put a value, None deletes it; both go to the changelog. What is there already is no write."""

    def derived(self, key: bytes) -> bytes | None:
        """The derived value of the group `key`, or one that is kept below it under a longer key.

        As it was kept last; may be missing at any time, never older than the values of the group. What lies below the
        group's own derived value holds only while that is there.
        """

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterable[tuple[bytes, bytes]]:
        """Derived values of one group from `start` until before `stop`, in the order of keys.

        Or `backwards`, the last one first; read lazily. Nothing is kept while they are being read.
        """

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """Keep a derived value; None deletes it, and all of a group's are deleted together.

        Local only: it follows from the values, so the changelog does without.
        """


class MemoryStore:
    """A store in memory, for tests and for looking at what a record would leave behind.

    `changelog` has every write in order, as it would lie in the topic, `derived_values` the derived values.
    """

    def __init__(self, began_at_ms: int = 0, ownership: Ownership | None = None, separator: bytes = SEPARATOR) -> None:
        self.began_at_ms = began_at_ms
        self.ownership = ownership
        self._separator = separator
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.derived_values: dict[bytes, bytes] = {}
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._beside: list[bytes] = []

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._values)

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        return self._values.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `KeyValueStore`."""
        for index in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield key, self._values[key]

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        if self._values.get(key) == value:
            return
        self.changelog.append((key, value))
        if value is None:
            del self._values[key]
            del self._keys[bisect_left(self._keys, key)]
            return
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def derived(self, key: bytes) -> bytes | None:
        """See `KeyValueStore`."""
        return self.derived_values.get(key)

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `KeyValueStore`."""
        found = range(bisect_left(self._beside, start), bisect_left(self._beside, stop))
        for index in reversed(found) if backwards else found:
            key = self._beside[index]
            yield key, self.derived_values[key]

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """See `KeyValueStore`."""
        if value is None:
            if self.derived_values.pop(key, None) is not None and self._separator in key:
                del self._beside[bisect_left(self._beside, key)]
            return
        if key not in self.derived_values and self._separator in key:
            insort(self._beside, key)
        self.derived_values[key] = value


def merged(
    stored: Iterator[tuple[bytes, bytes]], put: Mapping[bytes, tuple[bytes | None, int]], prefix: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Both in the order of keys, of those that begin with `prefix`; what was put hides what is stored."""
    return overlaid(stored, {key: entry for key, entry in put.items() if key.startswith(prefix)})


def overlaid(
    stored: Iterator[tuple[bytes, bytes]],
    put: Mapping[bytes, tuple[bytes | None, int]],
    *,
    backwards: bool = False,
) -> Iterator[tuple[bytes, bytes]]:
    """Both in the order of keys, or backwards as `stored` is; what was put hides what is stored."""
    comes_before = gt if backwards else lt
    keys = iter(sorted(put, reverse=backwards))
    key = next(keys, None)
    for found, value in stored:
        while key is not None and comes_before(key, found):
            if (mine := put[key][0]) is not None:
                yield key, mine
            key = next(keys, None)
        if key == found:
            if (mine := put[key][0]) is not None:
                yield key, mine
            key = next(keys, None)
        else:
            yield found, value
    while key is not None:
        if (mine := put[key][0]) is not None:
            yield key, mine
        key = next(keys, None)
