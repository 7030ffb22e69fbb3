"""Where the facts of one partition lie: the seam between what they mean and how they are kept."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from operator import gt, lt
from typing import Protocol

from pipeline.transform.state.facts import NUL
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

    def sheet(self, key: bytes) -> bytes | None:
        """The summary of the customer `key`, or what is kept beside it under a longer key (`roster`).

        As it was kept last; may be missing at any time, never older than the facts. What lies beside a summary holds
        only while the summary is there.
        """

    def entries(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterable[tuple[bytes, bytes]]:
        """What is kept beside one customer's summary from `start` until before `stop`, in the order of keys.

        Or `backwards`, the last one first; read lazily. Nothing is kept while they are being read.
        """

    def keep(self, key: bytes, sheet: bytes | None) -> None:
        """Keep a summary, or what lies beside it; None drops it, and all of a customer's keys are dropped together.

        Local only: it follows from the facts, so the changelog does without.
        """


class MemoryShelf:
    """A shelf in memory, for tests and for looking at what a webhook would leave behind.

    `changelog` has every write in order, as it would lie in the topic, `sheets` the summaries and what lies beside
    them.
    """

    def __init__(self, began_at_ms: int = 0, ownership: Ownership | None = None) -> None:
        self.began_at_ms = began_at_ms
        self.ownership = ownership
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.sheets: dict[bytes, bytes] = {}
        self._facts: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._beside: list[bytes] = []

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

    def sheet(self, key: bytes) -> bytes | None:
        """See `Shelf`."""
        return self.sheets.get(key)

    def entries(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `Shelf`."""
        found = range(bisect_left(self._beside, start), bisect_left(self._beside, stop))
        for index in reversed(found) if backwards else found:
            key = self._beside[index]
            yield key, self.sheets[key]

    def keep(self, key: bytes, sheet: bytes | None) -> None:
        """See `Shelf`."""
        if sheet is None:
            if self.sheets.pop(key, None) is not None and NUL in key:
                del self._beside[bisect_left(self._beside, key)]
            return
        if key not in self.sheets and NUL in key:
            insort(self._beside, key)
        self.sheets[key] = sheet


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
