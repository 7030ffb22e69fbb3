"""Records of the changelog, what several of them make of one key, and how they come into an LMDB store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import lmdb

from pipeline.statestore.schema import Merge, Schema

Change = tuple[bytes, bytes | None]
"""Key and value of one record of the changelog; no value is a tombstone: the key is deleted."""

BEGAN: Final = b"\0state\0began"
"""Key of the record with which a partition's state began; it belongs to no group."""

MAX_KEY_BYTES: Final = 511
"""LMDB's limit, compiled in."""


@dataclass(frozen=True, slots=True)
class Began:
    """The record with which this partition's state began, and where it lies in the changelog."""

    offset: int
    value: bytes


@dataclass(slots=True)
class News:
    """What the changelog holds for one key.

    `value` is what its records make, `latest` the last of them as it lies in the topic; `anew`: the key was deleted in
    between, so what was there before does not count.
    """

    value: bytes | None
    latest: bytes | None
    anew: bool


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
    values: Mapping[bytes, object], derived: Mapping[bytes, object], keys: Callable[[], int], schema: Schema
) -> Iterator[tuple[list[bytes], list[bytes], bool]]:
    """Keys of values and of derived values in pieces of about so many values, in order; whether it is the last piece.

    Neighbours share pages, and all that there is of a group is in one piece. There is always one piece. `keys` is asked
    before each.
    """
    ordered = sorted(values)
    if len(ordered) <= keys():
        yield ordered, sorted(derived), True
        return
    group_of = schema.group_of
    left: dict[bytes, list[bytes]] = {}
    for key in derived:
        left.setdefault(group_of(key), []).append(key)
    start = 0
    while start < len(ordered):
        stop = min(start + keys(), len(ordered))
        while stop < len(ordered) and group_of(ordered[stop]) == group_of(ordered[stop - 1]):
            stop += 1
        piece = ordered[start:stop]
        last = stop == len(ordered)
        groups = list(left) if last else left.keys() & {group_of(key) for key in piece}
        yield piece, sorted(key for group in groups for key in left.pop(group)), last
        start = stop


def put_all(
    txn: lmdb.Transaction[bytes],
    db: lmdb._Database,
    values: Mapping[bytes, bytes | None],
    keys: Iterable[bytes],
    schema: Schema | None = None,
) -> bool:
    """Put what these keys have, or delete them; whether that leaves remains of a person in the file, by `schema`."""
    put, remains = txn.put, False
    for key in keys:
        value = values[key]
        changed = txn.delete(key, db=db) if value is None else put(key, value, db=db)
        if changed and not remains and schema is not None:
            remains = schema.leaves_remains(key, value)
    return remains


def take_in(
    txn: lmdb.Transaction[bytes],
    values: lmdb._Database,
    derived: lmdb._Database,
    news: Mapping[bytes, News],
    keys: Iterable[bytes],
    *,
    differing: lmdb._Database,
    schema: Schema,
) -> bool:
    """Merge what is news of these keys into `values`, and delete the derived values of the groups that changed.

    `differing` gets the keys of which the topic's latest record is not what there is now, and loses the others. Returns
    whether remains of a person are left in the file.
    """
    differed = bool(txn.stat(differing)["entries"])
    remains = False
    stale: set[bytes] = set()
    put, get, merge = txn.put, txn.get, schema.merge
    for key in keys:
        told = news[key]
        value = told.value
        if value is None:
            changed = txn.delete(key, db=values)
        elif told.anew:
            changed = put(key, value, db=values)
        elif not (changed := put(key, value, overwrite=False, db=values)):
            old = get(key, b"", values)
            if old != value:
                value = merge(key, old, value)
                if changed := value != old:
                    put(key, value, db=values)
        if changed:
            stale.add(schema.group_of(key))
            remains = remains or told.anew or schema.leaves_remains(key, value)
        if value is not None and value != told.latest:
            put(key, b"", db=differing)
        elif differed:
            txn.delete(key, db=differing)
    if txn.stat(derived)["entries"]:
        for group in stale - {b""}:
            _drop_derived(txn, derived, group, schema.separator)
    return remains


def _drop_derived(txn: lmdb.Transaction[bytes], derived: lmdb._Database, group: bytes, separator: bytes) -> None:
    """The value under the group's name and those below it, also where an earlier version has deleted only the first."""
    txn.delete(group, db=derived)
    begin = group + separator
    with txn.cursor(derived) as cursor:
        found = cursor.set_range(begin)
        while found and cursor.key().startswith(begin):
            found = cursor.delete()
