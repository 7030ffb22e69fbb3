"""Finds letters of the sink that would create a person again who asked to be forgotten: of whom, and from when.

The transform drops records that are put back to it and are older than the request. Records that are put back to the
operations go to Customer.io as they are, so they are checked here, before they are sent. So is a removal that was not
carried out in its time: it would take along what its person has bought since, as a new customer, and the state would go
on as if Customer.io knew that.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pipeline.deadletters.filters import Filter
from pipeline.deadletters.letter import json_object, read_letter
from pipeline.deadletters.receipts import read_receipt
from pipeline.kafka.records import DLQ_STAGE, EVENT_TIME, Record, int_header, text_header

FORGOTTEN: Final = (
    "it tells of what was before its person was forgotten (`dodo-cio forget`), and would bring the person back "
    "(--include-forgotten puts it back all the same)"
)

CAME_BACK: Final = (
    "it removes a person who has come back since, and would take along what came then, which counts as sent: give the "
    "request to be forgotten once more (`dodo-cio forget`), which removes all of it (--include-forgotten puts it back "
    "all the same)"
)

SINK: Final = "sink"
REMOVALS: Final = frozenset({"delete", "suppress"})


class Telling(NamedTuple):
    """Whom an operation is about, by every id and address that it names, and from when it is.

    `at_ms` is unix milliseconds; None: unknown, so it may be older than any request to be forgotten.
    """

    people: frozenset[str]
    at_ms: int | None


def telling_of(record: Record) -> Telling | None:
    """Whom the letter `record` is about, if it is the sink's; None for a letter that cannot create a person again."""
    if text_header(record.headers, DLQ_STAGE) != SINK:
        return None
    operation = json_object(record.value) or {}
    if operation.get("action") in REMOVALS:
        return None
    at_ms = int_header(record.headers, EVENT_TIME)
    return Telling(_people(record, operation), _seconds(operation) if at_ms is None else at_ms)


def removed_by(record: Record) -> frozenset[str] | None:
    """Whom the letter `record` would remove, if it is the sink's; None for one that removes nobody."""
    if text_header(record.headers, DLQ_STAGE) != SINK:
        return None
    operation = json_object(record.value) or {}
    return _people(record, operation) if operation.get("action") in REMOVALS else None


def _people(record: Record, operation: dict[str, Any]) -> frozenset[str]:
    people = {record.key.decode("utf-8", "replace")} if record.key else set()
    for member in ("identifiers", "primary", "secondary"):
        named = operation.get(member)
        if isinstance(named, dict):
            people |= {value for value in named.values() if isinstance(value, str)}
    return frozenset(people)


def _seconds(operation: dict[str, Any]) -> int | None:
    seconds = operation.get("timestamp")
    return seconds * 1000 if type(seconds) is int else None


class Lookout:
    """Finds out, record by record, whether `filter` selects a letter for which the marks matter (`found`)."""

    def __init__(self, filter: Filter) -> None:  # noqa: A002 - as in `Rules`
        self._filter = filter
        self.found = False

    def hear(self, record: Record) -> None:
        """Check one record of the topic."""
        if self.found or read_receipt(record) is not None:
            return
        if telling_of(record) is not None or removed_by(record) is not None:
            self.found = self._filter.matches(read_letter(record))
