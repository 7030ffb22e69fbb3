"""Topics that are called as one that is missing, but for a prefix: settings of another deployment were forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable

TELLING_PARTS = 2
"""Dotted parts that the names of all topics of this pipeline have without any prefix: `dodo.webhooks`."""


def namesakes(missing: Iterable[str], existing: Collection[str]) -> list[str]:
    """Those of `existing` that are one of `missing` with a prefix more or less; if there are none, with another."""
    pairs = [(name, there) for name in missing for there in existing if there != name]
    longer = {there for name, there in pairs if there.endswith(name) or name.endswith(there)}
    return sorted(longer or {there for name, there in pairs if _tail(name) == _tail(there) is not None})


def _tail(name: str) -> list[str] | None:
    parts = name.split(".")
    return parts[-TELLING_PARTS:] if len(parts) > TELLING_PARTS else None
