"""Records as they lie in the topics: header names, and tolerant reading of them.

Header names are the contract of `topics/asyncapi.yaml`. Other producers may feed the topics, so names are matched
case-insensitively and values that are not UTF-8 never raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

WEBHOOK_ID: Final = "webhook-id"
WEBHOOK_TIMESTAMP: Final = "webhook-timestamp"
DODO_TYPE: Final = "dodo-type"
DODO_MODE: Final = "dodo-mode"
DODO_COMMAND: Final = "dodo-command"
RECEIVED_AT: Final = "received-at"
TRACEPARENT: Final = "traceparent"
REPARTITIONED_FROM: Final = "repartitioned-from"
"""`topic/partition/offset` of the webhook that this record is a copy of, in its customer's partition."""

REPARTITIONED_AMONG: Final = "repartitioned-among"
"""How many partitions the topic had then."""
OP_ID: Final = "op-id"
EVENT_TIME: Final = "event-time"
SOURCE: Final = "source"
BARRIER: Final = "barrier"
CHECKED: Final = "checked"
"""Of an operation: the word of who made it that its value may go into a batch (`pipeline.customerio.vouching`)."""

IDENTITY: Final = "identity"
"""Of an identify: the digest of what it sends, which the state remembers as sent."""

IDENTITY_OF: Final = "identity-of"
"""Whose state that is: the key under which a command about it goes to its owner."""

NOT_BEFORE: Final = "not-before"
"""Of an identify whose time is ahead of the clock: unix seconds from when on it may be sent."""

RULES: Final = "rules"
"""Of an operation that was shaped: the version of the user's rules and code."""

UNTOLD: Final = "untold"
"""The command by which the sink reports that an identify was given up."""

DLQ_STAGE: Final = "dlq-stage"
DLQ_CLASS: Final = "dlq-class"
DLQ_REASON: Final = "dlq-reason"
DLQ_FIELD: Final = "dlq-field"
DLQ_STATUS: Final = "dlq-status"
DLQ_SOURCE: Final = "dlq-source"
DLQ_AT: Final = "dlq-at"
DLQ_ATTEMPTS: Final = "dlq-attempts"
DLQ_REPLAYS: Final = "dlq-replays"

MAX_DIGITS: Final = 19
"""Digits of a signed 64-bit number; a longer header is not a count or a time."""

FIRST_MS: Final = 1_000_000_000_000
END_MS: Final = 100_000_000_000_000
"""2001 to 5138: a timestamp outside of it was no time in milliseconds. Kafka takes every 64-bit number for one."""

LOG_APPEND_TIME: Final = 1
"""Of a record's `timestamp_type`: its time is that of the partition's leader."""

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """What this project reads of a consumed record; aiokafka's `ConsumerRecord` fits."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(slots=True, init=False)
class OutRecord:
    """A record to be produced; `timestamp_ms` unset means the time of sending.

    Not frozen, since several are made for each webhook and that costs three times as much.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int | None

    def __init__(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp_ms = timestamp_ms


def header(headers: Iterable[tuple[str, bytes | None]], name: str) -> bytes | None:
    """The first header called `name` in any case, or None."""
    for key, value in headers:
        if key == name:  # the spelling that we write ourselves, without the cost of lower()
            return value
    length = len(name)
    for key, value in headers:
        if len(key) == length and key.lower() == name:
            return value
    return None


def text_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> str | None:
    """The same as text; bytes that are not UTF-8 are replaced, an empty header counts as absent."""
    value = header(headers, name)
    return value.decode("utf-8", "replace") if value else None


def int_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> int | None:
    """The same as a decimal integer, None when it is anything else."""
    return whole(header(headers, name))


def whole(text: bytes | str | None) -> int | None:
    """A decimal integer, None for anything else."""
    if text is None or len(text) > MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def time_ms(record: Record) -> int | None:
    """The record's time, unix ms; None where it has none, or a number that no clock showed."""
    at_ms = record.timestamp
    return at_ms if FIRST_MS <= at_ms < END_MS else None


def source_of(record: Record) -> str:
    """`topic/partition/offset`, the form used in headers, dead letters and messages."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def place_in(topic: str, source: str | None) -> tuple[int, int] | None:
    """Partition and offset of such a source, None for another topic's and for anything else."""
    origin, _, place = (source or "").partition("/")
    first, _, second = place.partition("/")
    partition, offset = whole(first), whole(second)
    return None if origin != topic or partition is None or offset is None else (partition, offset)
