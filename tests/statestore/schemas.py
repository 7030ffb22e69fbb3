"""Schemas of stores whose values mean nothing: of two values the larger one stays, or the smaller."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.statestore.schema import Schema


def _kind_of(key: bytes) -> str:
    return key.split(b"\0")[1].decode() if b"\0" in key else ""


LARGEST: Final = Schema(
    version=1,
    merge=lambda _key, old, new: max(old, new),
    is_valid=lambda _key, _value: True,
    is_readable=lambda _key, _value: True,
    kind_of=_kind_of,
    leaves_remains=lambda _key, value: value is None,
)
SMALLEST: Final = replace(LARGEST, merge=lambda _key, old, new: min(old, new))
