"""Whether a record is of Dodo's live or of its test mode, by its header."""

from __future__ import annotations

from pipeline.kafka.records import DODO_MODE, Headers, header
from pipeline.transform.verdicts import Mode


def mode_of(headers: Headers) -> Mode | None:
    """The record's mode, live without the header; None when it is none: test data must never reach real people."""
    told = header(headers, DODO_MODE)
    if not told or told == b"live":
        return "live"
    match told.decode("utf-8", "replace").strip().lower():
        case "live":
            return "live"
        case "test":
            return "test"
        case _:
            return None
