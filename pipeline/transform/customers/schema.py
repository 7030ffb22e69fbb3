"""The schema of the customers' state: what the store must know of facts and their keys."""

from __future__ import annotations

from typing import Final

from pipeline.statestore.schema import Schema
from pipeline.transform.customers.facts import NUL, SCHEMA_VERSION, checked, decode, is_older, key, merge_at, split
from pipeline.transform.customers.shape import SHAPES

KINDS: Final = frozenset(SHAPES)
"""Kinds of facts that this version knows."""

PRUNED: Final = "event"
"""Taken away all day, as events go out of date, and of nobody's person: a customer's id, a digest and a time."""

TAKEN_BACK: Final = b",null]"
"""How a share ends that was taken back (`facts`)."""


def leaves_remains(key: bytes, value: bytes | None) -> bool:
    """Whether a person's data goes for good where this is put in place of what is there."""
    if value is None:
        return split(key)[1] != PRUNED
    return value.endswith(TAKEN_BACK) and split(key)[1] == "share"


def _kind_of(key: bytes) -> str:
    parts = key.split(NUL, 2)
    return parts[1].decode("utf-8", "replace") if len(parts) == 3 else ""  # noqa: PLR2004 - customer, kind, id


def _is_valid(key: bytes, value: bytes) -> bool:
    return checked(split(key)[1], value) is not None


def _is_readable(key: bytes, value: bytes) -> bool:
    return decode(split(key)[1], value) is not None


def _is_outdated(key: bytes, value: bytes, mark: bytes) -> bool:
    forgotten = decode("forgotten", mark)
    return forgotten is not None and is_older(key, value, forgotten[0])


CUSTOMERS: Final = Schema(
    version=SCHEMA_VERSION,
    merge=merge_at,
    is_valid=_is_valid,
    is_readable=_is_readable,
    kind_of=_kind_of,
    leaves_remains=leaves_remains,
    separator=NUL,
    mark=key(b"", "forgotten", ""),
    is_outdated=_is_outdated,
)
