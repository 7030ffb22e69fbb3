"""Decides which record a genuine request becomes. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.deadletters.envelope import dead_letter_of
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.signature import Mode
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import (
    DODO_MODE,
    DODO_TYPE,
    RECEIVED_AT,
    TRACEPARENT,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    OutRecord,
)
from pipeline.telemetry.traceparent import is_valid

MAX_BODY_BYTES: Final = 900_000
"""Cap of a body. Kafka's default of a topic (`max.message.bytes`, 1,048,588) counts key, headers and framing too; what
does not fit must be refused at the door, since a record refused by the broker breaks the producer's sequence."""

MAX_ENVELOPE_BYTES: Final = 8_192
"""Most that key, headers and framing add: an id and a key of 255 bytes, a type of 255, a trace of 512, a dead letter's
reason of 1,000, names and lengths."""

MAX_TYPE_BYTES: Final = 255
"""The header `dodo-type` is for people and filters; the body keeps the type whole."""


class AcceptedWebhook(NamedTuple):
    """To be stored as a webhook."""

    record: OutRecord
    type: str

    @property
    def webhook_id(self) -> bytes:
        """As it was sent."""
        return self.record.headers[0][1]


class Unreadable(NamedTuple):
    """To be stored as a dead letter; `reason` quotes nothing of the body."""

    record: OutRecord
    reason: str

    @property
    def webhook_id(self) -> bytes:
        """As it was sent."""
        return self.record.headers[0][1]


def decide(
    body: bytes, *, webhook_id: str, webhook_timestamp: str, mode: Mode, received_at_ms: int, traceparent: str | None
) -> AcceptedWebhook | Unreadable:
    """The record of a genuine request: the body byte for byte, and what only the request knew as headers."""
    headers = [(WEBHOOK_ID, webhook_id.encode()), (WEBHOOK_TIMESTAMP, webhook_timestamp.encode())]
    where = [(DODO_MODE, mode.encode()), (RECEIVED_AT, b"%d" % received_at_ms)]
    if traceparent is not None and is_valid(traceparent):
        where.append((TRACEPARENT, traceparent.encode()))
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        reason = str(error)
        letter = dead_letter_of(
            kafka_key(None, webhook_id),
            body,
            (*headers, *where),
            stage="ingest",
            class_="unreadable",
            reason=reason,
            at_ms=received_at_ms,
        )
        return Unreadable(letter, reason)
    type_ = envelope.type.encode()[:MAX_TYPE_BYTES].decode(errors="ignore").encode()
    record = OutRecord(kafka_key(envelope, webhook_id), body, (*headers, (DODO_TYPE, type_), *where))
    return AcceptedWebhook(record, envelope.type)
