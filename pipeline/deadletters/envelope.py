"""The envelope of a dead letter: the record that failed, byte for byte, and headers with where, why and how often.

`dlq-stage` is the stage that gave up, `dlq-class` the kind of fault, `dlq-reason` why in words, `dlq-field` which
field, `dlq-status` which HTTP status, `dlq-source` which record (`topic/partition/offset`), `dlq-at` when (unix ms),
`dlq-attempts` after how many attempts, `dlq-replays` how often it was put back before. If `dlq-field` begins with
`batch`, the value is a whole batch of records, as it is in the log, since it could not be decoded.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from pipeline.errors import InputError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import (
    DLQ_AT,
    DLQ_ATTEMPTS,
    DLQ_CLASS,
    DLQ_FIELD,
    DLQ_REASON,
    DLQ_REPLAYS,
    DLQ_SOURCE,
    DLQ_STAGE,
    DLQ_STATUS,
    Headers,
    OutRecord,
    Record,
    header,
    int_header,
    source_of,
)
from pipeline.reasons import clean_reason
from pipeline.settings import Stage

DeadLetterClass = Literal[
    "unreadable", "unknown-type", "unmappable", "refused", "oversize", "undeliverable", "transform-failed"
]
"""Kinds of fault.

`unreadable`: the bytes are not a webhook, or no record that can be read. `unknown-type`: a type that this version does
not know; replay after an upgrade. `unmappable`: known, but lacks what the mapping or the identity policy needs.
`refused`: by Customer.io. `oversize`: does not fit a limit. `undeliverable`: failed alone for minutes while others
succeeded. `transform-failed`: the user's own rules or code failed on it; replay once they are corrected.
"""

CLASSES: Final[tuple[DeadLetterClass, ...]] = get_args(DeadLetterClass)

BATCH: Final = "batch "
"""The prefix of `dlq-field` in a letter whose value is a batch; the batch's offsets follow."""

TOLD_BYTES: Final = 1000
"""The size up to which a letter without content keeps keys and headers."""

OWN_HEADERS: Final = frozenset(
    {
        DLQ_STAGE,
        DLQ_CLASS,
        DLQ_REASON,
        DLQ_FIELD,
        DLQ_STATUS,
        DLQ_SOURCE,
        DLQ_AT,
        DLQ_ATTEMPTS,
        DLQ_REPLAYS,
    }
)
"""Headers that an envelope adds and `original_of` removes; any other header, `dlq-…` or not, belongs to the record."""


def dead_letter(
    record: Record,
    *,
    stage: Stage,
    class_: DeadLetterClass,
    reason: str,
    at_ms: int,
    field: str | None = None,
    status: int | None = None,
    attempts: int = 1,
) -> OutRecord:
    """The dead letter of a consumed `record`.

    Key, value and headers stay as they were; only our own headers of an earlier failure are replaced, and the count of
    replays is kept. `reason` and `field` are cleaned and cut (`reasons`). `at_ms`: unix ms, also the record's time.
    """
    if type(record) is UnreadableRecord and record.through is not None:
        field = f"{BATCH}{record.offset} to {record.through}"
    return dead_letter_of(
        record.key,
        record.value,
        record.headers,
        source_of(record),
        stage=stage,
        class_=class_,
        reason=reason,
        at_ms=at_ms,
        field=field,
        status=status,
        attempts=attempts,
    )


def without_content(letter: OutRecord) -> OutRecord:
    """The letter without the record's value and headers, and without large keys, for a topic that cannot hold them.

    The record is at `dlq-source` until its topic's retention ends. Only records of other producers can be so large:
    ours are smaller than a topic's limit.
    """
    key = letter.key if len(letter.key or b"") <= TOLD_BYTES else None
    kept = [(name, value) for name, value in letter.headers if name in OWN_HEADERS and len(value) <= TOLD_BYTES]
    return OutRecord(key=key, value=None, headers=tuple(kept), timestamp_ms=letter.timestamp_ms)


def dead_letter_of(
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    source: str = "http",
    *,
    class_: DeadLetterClass,
    reason: str,
    at_ms: int,
    stage: Stage = "ingest",
    field: str | None = None,
    status: int | None = None,
    attempts: int = 1,
) -> OutRecord:
    """The same for what is not a record yet: `key`, `value` and `headers` as they would have been produced."""
    own = [
        (DLQ_STAGE, stage.encode()),
        (DLQ_CLASS, class_.encode()),
        (DLQ_REASON, clean_reason(reason).encode()),
        (DLQ_SOURCE, source.encode()),
        (DLQ_AT, b"%d" % at_ms),
        (DLQ_ATTEMPTS, b"%d" % attempts),
        (DLQ_REPLAYS, b"%d" % replays_of(headers)),
    ]
    if field is not None:
        own.append((DLQ_FIELD, clean_reason(field).encode()))
    if status is not None:
        own.append((DLQ_STATUS, b"%d" % status))
    return OutRecord(key=key, value=value, headers=(*_foreign(headers), *own), timestamp_ms=at_ms)


def original_of(record: Record) -> OutRecord:
    """The record that failed, ready to be put back: `dlq-replays` is one higher, all else as it was.

    Its timestamp is left to the time of sending, since a topic's retention counts from it: with the old one, a replay
    after more than the topic's retention could be deleted before anybody reads it.

    Raises:
        InputError: the record is not a dead letter.
    """
    if header(record.headers, DLQ_STAGE) is None:
        raise InputError(f"{source_of(record)} is not a dead letter: it has no header {DLQ_STAGE}")
    replays = (DLQ_REPLAYS, b"%d" % (replays_of(record.headers) + 1))
    return OutRecord(key=record.key, value=record.value, headers=(*_foreign(record.headers), replays))


def replays_of(headers: Headers) -> int:
    """How often a record was put back; 0 if the header is not a count."""
    return int_header(headers, DLQ_REPLAYS) or 0


def _foreign(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    return tuple(pair for pair in headers if pair[0].lower() not in OWN_HEADERS)
