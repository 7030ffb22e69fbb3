"""Where the facts of one partition lie: the seam between what they mean and how they are kept."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from pipeline.transform.state.ownership import Ownership


class Shelf(Protocol):
    """One partition's facts, keys and values as `facts` makes them; the shelf never understands a value.

    What was put is read back at once, before it is durable: two webhooks of one chunk see each other.
    """

    @property
    def began_at_ms(self) -> int:
        """When this partition's state began to collect, unix milliseconds."""

    @property
    def ownership(self) -> Ownership | None:
        """Which partition of how many it is of; None where there is one place for all customers."""

    def get(self, key: bytes) -> bytes | None:
        """The fact, None when there is none."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The facts whose keys begin with `prefix`, in the order of keys; read lazily, so the first few cost little.

        Nothing is put while a scan is being read.
        """

    def put(self, key: bytes, value: bytes | None) -> None:
        """Remember a fact, None takes it away; both go to the changelog. What is there already is no write."""

    def sheet(self, customer: bytes) -> bytes | None:
        """The customer's summary as it was kept last; may be missing at any time, never older than the facts."""

    def keep(self, customer: bytes, sheet: bytes | None) -> None:
        """Keep a summary, None drops it. Local only: it follows from the facts, so the changelog does without."""


class MemoryShelf:
    """A shelf in memory, for tests and for looking at what a webhook would leave behind.

    `changelog` has every write in order, as it would lie in the topic.
    """

    def __init__(self, began_at_ms: int = 0, ownership: Ownership | None = None) -> None:
        self.began_at_ms = began_at_ms
        self.ownership = ownership
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.sheets: dict[bytes, bytes] = {}
        self._facts: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        """How many facts there are."""
        return len(self._facts)

    def get(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        return self._facts.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `Shelf`."""
        for index in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield key, self._facts[key]

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `Shelf`."""
        if self._facts.get(key) == value:
            return
        self.changelog.append((key, value))
        if value is None:
            del self._facts[key]
            del self._keys[bisect_left(self._keys, key)]
            return
        if key not in self._facts:
            insort(self._keys, key)
        self._facts[key] = value

    def sheet(self, customer: bytes) -> bytes | None:
        """See `Shelf`."""
        return self.sheets.get(customer)

    def keep(self, customer: bytes, sheet: bytes | None) -> None:
        """See `Shelf`."""
        if sheet is None:
            self.sheets.pop(customer, None)
        else:
            self.sheets[customer] = sheet


def merged(
    stored: Iterator[tuple[bytes, bytes]], put: Mapping[bytes, tuple[bytes | None, int]], prefix: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Both in the order of keys; what was put hides what is stored."""
    keys = iter(sorted(key for key in put if key.startswith(prefix)))
    key = next(keys, None)
    for found, value in stored:
        while key is not None and key < found:
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
