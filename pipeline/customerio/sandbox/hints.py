"""Hints about operations that are valid but probably not what the sender meant: counted, never refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pipeline.customerio.limits import CAMPAIGN_WINDOW_S, EVENT_MESSAGE_OVERRIDES, TIMESTAMP_MAX_S

NO_ID: Final = "event without an id: a repeated delivery counts twice"
NO_TIMESTAMP: Final = "event without a timestamp: it counts as happening at its arrival"
MILLISECONDS: Final = "timestamp in milliseconds? it is read as seconds"
OLD: Final = "event older than 72 hours: it starts no campaign"
NO_EMAIL: Final = "event of a person without an e-mail address: it starts no mail"
DATA: Final = "event with `data` and no `attributes`: version 2 of the API does not read `data`"
OVERRIDES: Final = "event with recipient, from_address or reply_to: it redirects the mail that it starts"


def hints_of_event(operation: dict[str, Any], *, email_known: bool, now_s: float) -> Iterator[str]:
    """Hints about one valid event of a person."""
    if "id" not in operation:
        yield NO_ID
    timestamp = operation.get("timestamp")
    if not isinstance(timestamp, int | float):
        yield NO_TIMESTAMP
    elif timestamp > TIMESTAMP_MAX_S:
        yield MILLISECONDS
    elif timestamp < now_s - CAMPAIGN_WINDOW_S:
        yield OLD
    if not email_known:
        yield NO_EMAIL
    attributes = operation.get("attributes")
    if attributes is None:
        if "data" in operation:
            yield DATA
    elif not EVENT_MESSAGE_OVERRIDES.isdisjoint(attributes):
        yield OVERRIDES
