"""Topics that are called as one that is missing, but for a prefix: settings of another deployment were forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable

TELLING_PARTS = 2
"""Dotted parts that the names of all topics of this pipeline have without any prefix: `dodo.webhooks`."""

MOST_SHOWN = 4


def namesakes(missing: Iterable[str], existing: Collection[str]) -> list[str]:
    """Those of `existing` that are one of `missing` with a prefix more or less; if there are none, with another."""
    pairs = [(name, there) for name in missing for there in existing if there != name]
    longer = {there for name, there in pairs if there.endswith(name) or name.endswith(there)}
    return sorted(longer or {there for name, there in pairs if _tail(name) == _tail(there) is not None})


def hint(missing: Iterable[str], existing: Collection[str], variables: Iterable[str]) -> str:
    """What to add to a message about topics that are missing; nothing where no other is called alike."""
    found = namesakes(missing, existing)
    if not found:
        return ""
    return f". There is {', '.join(found[:MOST_SHOWN])}: if that is meant, set {', '.join(variables)} as its owner does"


def _tail(name: str) -> list[str] | None:
    parts = name.split(".")
    return parts[-TELLING_PARTS:] if len(parts) > TELLING_PARTS else None
