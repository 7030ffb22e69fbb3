"""Records of the changelog, and what several of them make of a fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Change = tuple[bytes, bytes | None]
"""Key and value of one record of the changelog; no value: the fact is gone."""

Merge = Callable[[bytes, bytes, bytes], bytes]
"""`merge(key, old, new)`: the value that both make, whatever their order."""


def customer_of(key: bytes) -> bytes:
    """The customer whose fact `key` is; empty for what belongs to the partition."""
    return key[: key.index(b"\0")] if b"\0" in key else key


def collapse(
    changes: Iterable[Change], merge: Merge
) -> tuple[dict[bytes, tuple[bytes | None, bytes | None]], set[bytes]]:
    """What several changes make of each key, with the latest value as it lies in the topic, and the keys that were
    removed in between: what was there before does not count for them."""  # noqa: D205, D209 - one sentence
    news: dict[bytes, tuple[bytes | None, bytes | None]] = {}
    removed: set[bytes] = set()
    for key, value in changes:
        if value is None:
            removed.add(key)
            news[key] = (None, None)
            continue
        known = news.get(key)
        if known is None or known[0] is None or known[0] == value:
            news[key] = (value, value)
        else:
            news[key] = (merge(key, known[0], value), value)
    return news, removed
