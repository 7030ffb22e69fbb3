"""Which records may go into a batch, as pure functions of the record.

Other producers may feed the topic, so nothing is taken on trust. Every value is parsed in full (1.4 µs for 600 bytes),
although a malformed one would also be found by halving the batch that it spoils: a value like `{…},{…}` begins and ends
like an object and leaves the batch valid JSON, but shifts every index after it. A 207 would then name the wrong
records: one that was accepted becomes a dead letter, and the refused one is acknowledged and gone.
"""

from __future__ import annotations

from typing import Final

import orjson

from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.kafka.records import BARRIER, Headers
from pipeline.sink.item import Fault

NO_BARRIER: Final = frozenset({b"", b"0", b"false"})
"""Any other value of the header is one: an extra barrier costs a little time, a missing one an address."""

BARRIER_LENGTH: Final = len(BARRIER)
"""Most records have no such header, and the length alone tells it from every other one of ours."""


def fault_of(value: bytes | None) -> Fault | None:
    """Why `value` cannot be an operation of a batch, without quoting it, or None when it can."""
    if not value:
        return Fault("unreadable", "the record has no value: a Customer.io operation is a JSON object")
    if len(value) > ITEM_MAX_BYTES:
        return Fault("oversize", f"the operation has {len(value):,} bytes, Customer.io takes {ITEM_MAX_BYTES:,}")
    try:
        operation = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return Fault("unreadable", f"the value is not JSON: {error}")
    if type(operation) is not dict:
        return Fault("unreadable", "the value is JSON, but not an object: a Customer.io operation is one")
    return None


def is_barrier(headers: Headers) -> bool:
    """Whether the record's person must wait for its acceptance."""
    for name, value in headers:
        if len(name) == BARRIER_LENGTH and name.lower() == BARRIER:
            return value not in NO_BARRIER
    return False
