"""Validation of the changelog's records: what is no value of this version is kept aside, and stops nobody.

Aside means that it lies under its key as what nobody can read, so that it gives way to any value of that key, and goes
and moves with its group. If it lies over a value that is known, the value is written again on top, before
compaction would take it away; itself it is never written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline import logs
from pipeline.statestore.changes import BEGAN, MAX_KEY_BYTES, Began, Change
from pipeline.statestore.events import RecordsKeptAside
from pipeline.statestore.schema import Schema

NOT_OURS = "none"
"""In place of a kind, for a record whose key is none of ours."""

ASIDE: Final = b"\0aside\0"
"""Before a value that would be taken for one; none begins so."""

log = logs.get(__name__)


@dataclass(slots=True)
class Sifted:
    """What some records of one partition hold: values and what lies in their place, in order, and the last beginning.

    `kinds` counts what is no value, `first` is the offset and the kind of the first of it.
    """

    changes: list[Change]
    began: Began | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    first: tuple[int, str] | None = None

    def put_aside(self, offset: int, kind: str) -> None:
        """Count one record that is no value."""
        self.kinds[kind] += 1
        if self.first is None:
            self.first = (offset, kind)


def as_it_was(value: bytes) -> bytes:
    """The value as it lay in the topic."""
    return value.removeprefix(ASIDE)


def sift(changes: Sequence[Change], offsets: Sequence[int], schema: Schema) -> Sifted:
    """Values, and what is none, in their order."""
    sifted = Sifted([])
    for change, offset in zip(changes, offsets, strict=True):
        key: bytes | None = change[0]
        value = change[1]
        if key == BEGAN:
            if value is not None:
                sifted.began = Began(offset, value)
        elif key is None or len(key) > MAX_KEY_BYTES or schema.separator not in key:
            sifted.put_aside(offset, NOT_OURS)
        elif value is None or schema.is_valid(key, value):
            sifted.changes.append(change)
        else:
            sifted.changes.append((key, ASIDE + value if schema.is_readable(key, value) else value))
            sifted.put_aside(offset, schema.kind_of(key))
    return sifted


class Warnings:
    """Logs what was kept aside of one topic, for as long as one restore, gap or move lasts."""

    def __init__(self, topic: str, tell: Callable[[RecordsKeptAside], None]) -> None:
        self._topic = topic
        self._tell = tell
        self._warned: set[int] = set()

    def hear(self, partition: int, sifted: Sifted) -> None:
        """Count it, and log the first of a partition."""
        if sifted.first is None:
            return
        self._tell(RecordsKeptAside(self._topic, partition, sifted.kinds))
        if partition in self._warned:
            return
        self._warned.add(partition)
        offset, kind = sifted.first
        log.warning(
            "A record of the customers' topic is no fact of this version and is kept aside; further ones of this "
            "partition are only counted",
            topic=self._topic, partition=partition, offset=offset, kind=kind,
        )  # fmt: skip
