"""Records of the changelog, what several of them make of a fact, and how they come into a mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import lmdb

Change = tuple[bytes, bytes | None]
"""Key and value of one record of the changelog; no value: the fact is gone."""

Merge = Callable[[bytes, bytes, bytes], bytes]
"""`merge(key, old, new)`: the value that both make, whatever their order."""


MAX_KEY_BYTES: Final = 511
"""LMDB's limit, compiled in."""


@dataclass(frozen=True, slots=True)
class Began:
    """The record with which this partition's state began, where it lies in the topic."""

    offset: int
    value: bytes


@dataclass(slots=True)
class News:
    """What the changelog has to say of one key.

    `value` is what its records make, `latest` the last of them as it lies in the topic; `anew`: the fact was taken away
    in between, so what was there before does not count.
    """

    value: bytes | None
    latest: bytes | None
    anew: bool


def customer_of(key: bytes) -> bytes:
    """The customer whose fact `key` is; empty for what belongs to the partition."""
    return key.partition(b"\0")[0]


def collapse(changes: Iterable[Change], merge: Merge) -> dict[bytes, News]:
    """What several changes, in their order, make of each key."""
    news: dict[bytes, News] = {}
    for key, value in changes:
        known = news.get(key)
        if known is None:
            news[key] = News(value, value, anew=value is None)
        elif value is None:
            known.value, known.latest, known.anew = None, None, True
        else:
            known.value = value if known.value is None or known.value == value else merge(key, known.value, value)
            known.latest = value
    return news


def slices(
    facts: Mapping[bytes, object], sheets: Mapping[bytes, object], keys: int
) -> Iterator[tuple[list[bytes], list[bytes], bool]]:
    """Keys of facts and of sheets in pieces of about so many facts, in order; whether it is the last piece.

    Neighbours share pages, and all that there is of a customer is in one piece. There is always one piece.
    """
    ordered = sorted(facts)
    if len(ordered) <= keys:
        yield ordered, sorted(sheets), True
        return
    left: dict[bytes, list[bytes]] = {}
    for key in sheets:
        left.setdefault(customer_of(key), []).append(key)
    start = 0
    while start < len(ordered):
        stop = min(start + keys, len(ordered))
        while stop < len(ordered) and customer_of(ordered[stop]) == customer_of(ordered[stop - 1]):
            stop += 1
        piece = ordered[start:stop]
        last = stop == len(ordered)
        customers = list(left) if last else left.keys() & {customer_of(key) for key in piece}
        yield piece, sorted(key for customer in customers for key in left.pop(customer)), last
        start = stop


Leaves = Callable[[bytes, bytes | None], bool]
"""`leaves(key, value)`: whether a person's data goes for good where this is put (`compaction.leaves_remains`)."""


def put_all(
    txn: lmdb.Transaction[bytes],
    db: lmdb._Database,
    values: Mapping[bytes, bytes | None],
    keys: Iterable[bytes],
    *,
    leaves: Leaves = lambda _key, _value: False,
) -> bool:
    """Put what these keys have, or delete them; whether that leaves remains of a person in the file."""
    put, remains = txn.put, False
    for key in keys:
        value = values[key]
        changed = txn.delete(key, db=db) if value is None else put(key, value, db=db)
        remains = remains or (changed and leaves(key, value))
    return remains


def take_in(
    txn: lmdb.Transaction[bytes],
    facts: lmdb._Database,
    sheets: lmdb._Database,
    news: Mapping[bytes, News],
    keys: Iterable[bytes],
    *,
    merge: Merge,
    leaves: Leaves = lambda _key, _value: False,
) -> tuple[set[bytes], bool]:
    """Merge what is news of these keys into `facts`, and drop the sheets of the customers whose facts changed.

    Returns the keys of which the topic's latest record is not what there is now, and whether remains of a person are
    left in the file.
    """
    differing: set[bytes] = set()
    remains = False
    stale: set[bytes] = set()
    put, get = txn.put, txn.get
    for key in keys:
        told = news[key]
        value = told.value
        if value is None:
            changed = txn.delete(key, db=facts)
        elif told.anew:
            changed = put(key, value, db=facts)
        elif not (changed := put(key, value, overwrite=False, db=facts)):
            old = get(key, b"", facts)
            if old != value:
                value = merge(key, old, value)
                if changed := value != old:
                    put(key, value, db=facts)
        if changed:
            stale.add(customer_of(key))
            remains = remains or told.anew or leaves(key, value)
        if value is not None and value != told.latest:
            differing.add(key)
    if txn.stat(sheets)["entries"]:
        for customer in stale - {b""}:
            _drop_sheet(txn, sheets, customer)
    return differing, remains


def _drop_sheet(txn: lmdb.Transaction[bytes], sheets: lmdb._Database, customer: bytes) -> None:
    """With what lies beside it, also where an earlier version, which knew of nothing there, has taken the sheet."""
    txn.delete(customer, db=sheets)
    begin = customer + b"\0"
    with txn.cursor(sheets) as cursor:
        found = cursor.set_range(begin)
        while found and cursor.key().startswith(begin):
            found = cursor.delete()
