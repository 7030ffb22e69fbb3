"""From a consumed record to a verdict, for whatever lies in the topic.

Other producers may feed the topic, so nothing is taken for granted: headers in any case or missing, a record without a
value, bytes that are no JSON, a body that this version cannot map. Each has its verdict; none stops the flow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.dodo.envelope import Envelope, parse, webhook_id_of
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import (
    DLQ_REPLAYS,
    DODO_COMMAND,
    DODO_MODE,
    RECEIVED_AT,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    Headers,
    Record,
    header,
    int_header,
    text_header,
)
from pipeline.transform.policy import Policy
from pipeline.transform.profile import Profile
from pipeline.transform.state.shelf import Shelf
from pipeline.transform.verdicts import DeadLettered, Delivery, Mode, Verdict

MAX_ID_CHARS: Final = 255
"""What ingest lets in; the id goes on in a header of every operation, and must not push one over the topic's limit."""

HASH_PIECE_BYTES: Final = 2047
"""Largest piece that hashlib digests without releasing the interpreter's lock (HASHLIB_GIL_MINSIZE is 2048)."""

MapWebhook = Callable[[Envelope, Delivery, Policy, Profile | None], Verdict]

NO_VALUE: Final = DeadLettered("unreadable", "the record has no value: a tombstone is no webhook")
NO_COMMANDS: Final = DeadLettered("unknown-type", "a command record, and this version knows no commands", DODO_COMMAND)
LONG_ID: Final = DeadLettered("unmappable", f"header {WEBHOOK_ID} is longer than {MAX_ID_CHARS} characters", WEBHOOK_ID)
NO_MODE: Final = DeadLettered("unmappable", f"header {DODO_MODE} is neither live nor test", DODO_MODE)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one record; `type` is None when the body could not be read."""

    verdict: Verdict
    type: str | None
    webhook_id: str


def decide(record: Record, policy: Policy, map_webhook: MapWebhook, shelf: Shelf | None = None) -> Decision:  # noqa: ARG001 - the profile comes with the book
    """The decision about `record`; never raises for what the record holds, as `map_webhook` does not.

    With the `shelf` of the record's partition the customer's state decides, and what the record shows is put on it:
    for operations and for a webhook that has nothing to say; never for a dead letter, whose replay must be told.
    """
    body = record.value
    if body is None:
        return Decision(NO_VALUE, None, webhook_id_of(record.headers, b""))
    webhook_id = webhook_id_of(record.headers, body)
    if header(record.headers, DODO_COMMAND) is not None:
        return Decision(NO_COMMANDS, None, webhook_id)
    try:
        envelope = parse(body)
    except UnreadableBodyError as error:
        return Decision(DeadLettered("unreadable", str(error)), None, webhook_id)
    if len(webhook_id) > MAX_ID_CHARS:
        return Decision(LONG_ID, envelope.type, webhook_id)
    mode = _mode(record.headers)
    if mode is None:
        return Decision(NO_MODE, envelope.type, webhook_id)
    delivery = Delivery(
        webhook_id=webhook_id,
        attempt_at_s=int_header(record.headers, WEBHOOK_TIMESTAMP),
        received_at_ms=_received_at_ms(record),
        mode=mode,
        body_hash=_digest(body),
    )
    return Decision(map_webhook(envelope, delivery, policy, None), envelope.type, webhook_id)


def _digest(body: bytes) -> bytes:
    """SHA-256 in pieces.

    From 2,048 bytes on hashlib gives up the interpreter's lock, and this thread would wait for the consumer's thread at
    every webhook to get it back (7 % of a worker's time).
    """
    digest = hashlib.sha256(body[:HASH_PIECE_BYTES])
    for start in range(HASH_PIECE_BYTES, len(body), HASH_PIECE_BYTES):
        digest.update(body[start : start + HASH_PIECE_BYTES])
    return digest.digest()


def _mode(headers: Headers) -> Mode | None:
    """The record's mode, live without the header; None when it is none: test data must never reach real people."""
    match (text_header(headers, DODO_MODE) or "live").strip().lower():
        case "live":
            return "live"
        case "test":
            return "test"
        case _:
            return None


def _received_at_ms(record: Record) -> int | None:
    """When the webhook arrived, unix ms: the header, else the record's own time.

    The time of a record that was put back is the time of the replay: taken for the reception, old data would look new
    and overwrite what the profile learnt since.
    """
    received_at_ms = int_header(record.headers, RECEIVED_AT)
    if received_at_ms is None and record.timestamp > 0 and header(record.headers, DLQ_REPLAYS) is None:
        return record.timestamp
    return received_at_ms
