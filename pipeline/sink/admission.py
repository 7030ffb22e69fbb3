"""Decides which records may go into a batch: pure functions of the record.

Other producers may feed the topic, and a value that is no object must not reach a batch. A malformed one would be found
by halving the batch that it spoils; but a value like `{…},{…}` begins and ends like an object, leaves the batch valid
JSON and shifts every index after it. A 207 would then name the wrong records: one that was accepted becomes a dead
letter, and the refused one is acknowledged and gone.

So a value is parsed in full (2 µs for 700 bytes), unless whoever made it vouches for it (`customerio.vouching`): the
transform, which wrote those very bytes out of one object. Beside any other value the word counts for nothing. And
before an answer that names operations by their index is believed, what was not parsed is (`delivery`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from pipeline.customerio.limits import ITEM_MAX_BYTES
from pipeline.customerio.vouching import MORE, word_for
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import BARRIER, CHECKED, NOT_BEFORE, Headers, Record, header
from pipeline.sink.item import Fault, Item

NO_BARRIER: Final = frozenset({b"", b"0", b"false"})
"""Any other value of the header is one: an extra barrier costs a little time, a missing one an address."""

BARRIER_LENGTH: Final = len(BARRIER)
"""Most records have no such header, and its length alone distinguishes it from every other one of ours."""


class Admitted(NamedTuple):
    """What a record is found to be.

    `fault`: why it cannot be sent. `barrier`: its person's next operations wait for its acceptance. `is_early`: it has
    a time before which it must not be sent.
    """

    fault: Fault | None
    barrier: bool
    is_early: bool


UNREMARKABLE: Final = Admitted(None, barrier=False, is_early=False)


def admit(record: Record) -> Admitted:
    """Look at a record: at its value, unless it is vouched for, and at each header."""
    value, headers = record.value, record.headers
    if type(record) is UnreadableRecord:
        fault: Fault | None = Fault("unreadable", record.fault)
    elif value and len(value) <= ITEM_MAX_BYTES and is_vouched(value, headers):
        fault = None
    else:
        fault = fault_of(value)
    return Admitted(fault, is_barrier(headers), header(headers, NOT_BEFORE) is not None)


def is_vouched(value: bytes, headers: Headers) -> bool:
    """Whether the record's first word vouches for exactly this value."""
    told = header(headers, CHECKED)
    return told is not None and told.removesuffix(MORE) == word_for(value)


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


def unsound(items: Iterable[Item]) -> list[Item]:
    """Those of a batch that should not be in it, by a look at what was vouched for; each has its fault now."""
    found = []
    for item in items:
        fault = fault_of(item.body)
        if fault is not None:
            item.fault, item.body = fault, b""
            found.append(item)
    return found


def is_barrier(headers: Headers) -> bool:
    """Whether the record's person must wait for its acceptance."""
    for name, value in headers:
        if len(name) == BARRIER_LENGTH and name.lower() == BARRIER:
            return value not in NO_BARRIER
    return False
