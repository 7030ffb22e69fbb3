"""The schema that a store is given: all that it needs to know about keys and values, without their meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Merge = Callable[[bytes, bytes, bytes], bytes]
"""`merge(key, old, new)`: the value that both make, whatever their order."""

SEPARATOR: Final = b"\0"
"""Ends the name of a group in a key."""

VERSION_HEADER: Final = "schema-version"
"""Header of every record of the changelog."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The form of keys and values.

    A key begins with the name of its group and the separator. The keys of a group are neighbours, are written in one
    piece, and have their derived values in common.

    Attributes:
        version: of the form; stands in a header of every record, and a newer one ends a restore.
        merge: the value that two records of a key make; commutative, associative and idempotent.
        is_valid: `is_valid(key, value)`: whether what lies in the changelog is a value of this version; all is checked.
        is_readable: the same for what lies in a store: whether it is taken for a value when it is read.
        kind_of: the kind of a key, for metrics and warnings.
        leaves_remains: `leaves_remains(key, value)`: whether a person's data goes for good where this is put.
        separator: ends the name of the group.
        mark: how a key ends under which it lies that a group was emptied; nothing: no group ever is.
        is_outdated: `is_outdated(key, value, mark)`: whether a value is from before its group was emptied.
    """

    version: int
    merge: Merge
    is_valid: Callable[[bytes, bytes], bool]
    is_readable: Callable[[bytes, bytes], bool]
    kind_of: Callable[[bytes], str]
    leaves_remains: Callable[[bytes, bytes | None], bool] = lambda _key, _value: False
    separator: bytes = SEPARATOR
    mark: bytes = b""
    is_outdated: Callable[[bytes, bytes, bytes], bool] = lambda _key, _value, _mark: False

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers of every record of the changelog."""
        return ((VERSION_HEADER, b"%d" % self.version),)

    def group_of(self, key: bytes) -> bytes:
        """The group of a key; empty for what belongs to the partition. A key without a separator is a group's name."""
        end = key.find(self.separator)
        return key if end < 0 else key[:end]
