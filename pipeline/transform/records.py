"""From a decision to the records that go out: operations with their headers, a dead letter, or a copy sent on."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pipeline.customerio.vouching import MORE, word_for
from pipeline.deadletters.envelope import dead_letter
from pipeline.kafka.records import (
    BARRIER,
    CHECKED,
    DLQ_REPLAYS,
    DODO_TYPE,
    EVENT_TIME,
    IDENTITY,
    IDENTITY_OF,
    NOT_BEFORE,
    OP_ID,
    RECEIVED_AT,
    REPARTITIONED_AMONG,
    REPARTITIONED_FROM,
    RULES,
    SOURCE,
    TRACEPARENT,
    WEBHOOK_ID,
    OutRecord,
    Record,
    header,
    int_header,
    source_of,
    time_ms,
)
from pipeline.transform.decision import Decision
from pipeline.transform.verdicts import DeadLettered, Operations, SentOn

Pairs = tuple[tuple[str, bytes], ...]

_BARRIER: Final[Pairs] = ((BARRIER, b"1"),)
_OF_THE_WAY = frozenset({REPARTITIONED_FROM, REPARTITIONED_AMONG})


def operation_records(
    record: Record, decision: Decision, operations: Operations, traceparent: bytes | None = None
) -> list[OutRecord]:
    """The operations of one webhook, in order, each under its person's key.

    Headers: `checked`, by which the sink knows that the value is an operation and needs no parsing (first, where the
    sink looks for it), `op-id`, `webhook-id`, `dodo-type`, `event-time` (unix ms), `received-at` (unix ms; the record's
    time when the webhook has none, the event's when that has none either), `source` (`topic/partition/offset`), and
    `barrier` where the sink must end its batch; `rules` is the version of what shaped them. With the state an identify
    has `identity` and `identity-of`, by which the sink can report that it was given up, and `not-before` (unix s) where
    its time is ahead of the clock. `traceparent` names the span that sends them, where their trace is kept.
    """
    received_at_ms = decision.received_at_ms
    if received_at_ms is None:
        received_at_ms = int_header(record.headers, RECEIVED_AT)
    if received_at_ms is None:
        received_at_ms = time_ms(record) or operations.event_time_ms
    shared: Pairs = (
        (WEBHOOK_ID, decision.webhook_id.encode()),
        _of_type(decision.type or ""),
        (EVENT_TIME, str(operations.event_time_ms).encode()),
        (RECEIVED_AT, str(received_at_ms).encode()),
        (SOURCE, source_of(record).encode()),
    )
    if operations.shaped is not None:
        shared += ((RULES, operations.shaped.encode()),)
    if traceparent is not None:
        shared += ((TRACEPARENT, traceparent),)
    person_key = operations.person_key
    found = []
    for operation in operations.operations:
        body, key = operation.body, operation.key
        word = word_for(body)
        told: Pairs = _remembered(decision, operations) if operation.kind == "identify" else ()
        if operation.barrier:
            told += _BARRIER
            word += MORE
        elif told and operations.not_before_s is not None:
            word += MORE
        headers = ((CHECKED, word), (OP_ID, operation.op_id.encode()), *shared, *told)
        found.append(OutRecord(person_key if key is None else key, body, headers))
    return found


@lru_cache(maxsize=256)
def _of_type(type_: str) -> tuple[str, bytes]:
    return DODO_TYPE, type_.encode()


def _remembered(decision: Decision, operations: Operations) -> Pairs:
    """The headers of an identify that the state remembers as sent."""
    if operations.identity is None or decision.whose is None:
        return ()
    pairs: Pairs = ((IDENTITY, operations.identity.hex().encode()), (IDENTITY_OF, decision.whose))
    return pairs if operations.not_before_s is None else (*pairs, (NOT_BEFORE, b"%d" % operations.not_before_s))


def dead_letter_record(record: Record, verdict: DeadLettered, at_ms: int) -> OutRecord:
    """The dead letter of one webhook; `at_ms` is now."""
    return dead_letter(
        record, stage="transform", class_=verdict.class_, reason=verdict.reason, field=verdict.field, at_ms=at_ms
    )


def sent_on_record(record: Record, verdict: SentOn) -> OutRecord:
    """The same webhook or command for its customer's partition: body and headers, under the customer's key.

    Headers `repartitioned-from` and `repartitioned-among` hold where it comes from. The moment of reception is written
    down where it was the record's own time so far; of one that was put back it never was.
    """
    kept = [pair for pair in record.headers if pair[0].lower() not in _OF_THE_WAY]
    received_at_ms = time_ms(record)
    if received_at_ms is not None and int_header(kept, RECEIVED_AT) is None and header(kept, DLQ_REPLAYS) is None:
        kept = [pair for pair in kept if pair[0].lower() != RECEIVED_AT]
        kept.append((RECEIVED_AT, b"%d" % received_at_ms))
    way = ((REPARTITIONED_FROM, source_of(record).encode()), (REPARTITIONED_AMONG, b"%d" % verdict.partitions))
    return OutRecord(verdict.key, record.value, (*kept, *way))
