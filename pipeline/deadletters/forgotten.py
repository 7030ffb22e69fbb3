"""Of whom a letter of the sink tells, and from when: what brings somebody back who asked to be forgotten.

The transform drops what is put back to it and is older than the request. What is put back to the operations goes to
Customer.io as it is, so it is looked at here, before it goes.
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

SINK: Final = "sink"
REMOVALS: Final = frozenset({"delete", "suppress"})


class Telling(NamedTuple):
    """What an operation tells: of whom, by every id and address that it names, and from when.

    `at_ms` is unix milliseconds; None: nobody knows, so it may be from any time before.
    """

    people: frozenset[str]
    at_ms: int | None


def telling_of(record: Record) -> Telling | None:
    """What the letter `record` tells if it is the sink's; None where nobody could come back by it."""
    if text_header(record.headers, DLQ_STAGE) != SINK:
        return None
    operation = json_object(record.value) or {}
    if operation.get("action") in REMOVALS:
        return None
    people = {record.key.decode("utf-8", "replace")} if record.key else set()
    for member in ("identifiers", "primary", "secondary"):
        named = operation.get(member)
        if isinstance(named, dict):
            people |= {value for value in named.values() if isinstance(value, str)}
    at_ms = int_header(record.headers, EVENT_TIME)
    return Telling(frozenset(people), _seconds(operation) if at_ms is None else at_ms)


def _seconds(operation: dict[str, Any]) -> int | None:
    seconds = operation.get("timestamp")
    return seconds * 1000 if type(seconds) is int else None


class Lookout:
    """Hears records of the topic, and knows whether a letter that `filter` means is one that tells of somebody."""

    def __init__(self, filter: Filter) -> None:  # noqa: A002 - as in `Rules`
        self._filter = filter
        self.found = False

    def hear(self, record: Record) -> None:
        """Look at one record."""
        if not self.found and read_receipt(record) is None and telling_of(record) is not None:
            self.found = self._filter.matches(read_letter(record))
