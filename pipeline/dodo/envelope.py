"""Reads a webhook's body, as tolerantly as is possible without guessing.

The body is `{business_id, type, timestamp, data}` (Dodo docs, "Webhooks"). Dodo adds and removes fields, and both null
and absent ones occur, so only what routing needs is required: an object with a `type` and an object `data`. The fields
inside `data` are checked by the mapping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.errors import UnreadableBodyError

BOM: Final = b"\xef\xbb\xbf"
"""RFC 8259 §8.1: a parser may ignore it. A relay that adds one must not turn a payment into a dead letter."""

MAX_ID_BYTES: Final = 255
"""Dodo's ids have about 30. A longer one is no id, and as a record's key could push it over the topic's size limit."""

WEBHOOK_ID: Final = "webhook-id"
"""The deduplication key: a header, not part of the body."""


@dataclass(slots=True, init=False)
class Envelope:
    """One webhook as sent."""

    type: str
    """What happened, e.g. `payment.succeeded`; possibly a type that nobody knows yet."""

    timestamp: str | None
    """When it happened, ISO 8601 as sent; None when it is absent or not text."""

    business_id: str | None
    """The merchant; None when it is absent or not text."""

    data: dict[str, Any]
    """The object's state at the moment of the delivery attempt, as sent."""

    fields: dict[str, Any]
    """The whole wire object, `data` included, as sent."""

    def __init__(
        self,
        type: str,  # noqa: A002 - the field's name
        timestamp: str | None,
        business_id: str | None,
        data: dict[str, Any],
        fields: dict[str, Any],
    ) -> None:
        self.type = type
        self.timestamp = timestamp
        self.business_id = business_id
        self.data = data
        self.fields = fields


def parse(body: bytes) -> Envelope:
    """The webhook that `body` holds.

    Also understands the vendor's transformation shape, `{"eventType": …, "payload": {"data": …}}`. Of a repeated
    key the last counts; an integer beyond 64 bits becomes a float.

    Raises:
        UnreadableBodyError: the bytes are not a webhook. The reason quotes nothing of them.
    """
    why: str | None = None
    try:
        decoded = orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        why = _why_not_json(body, error)
    if why is not None:  # raised here, it has no context: a JSONDecodeError holds the whole document
        raise UnreadableBodyError(why)
    if type(decoded) is dict:
        type_, data = decoded.get("type"), decoded.get("data")
        if type(type_) is str and type_ and type(data) is dict:  # the usual shape
            return Envelope(type_, _text(decoded.get("timestamp")), _text(decoded.get("business_id")), data, decoded)
    if not isinstance(decoded, dict):
        raise UnreadableBodyError(f"not an object but {_kind(decoded)}")
    type_, fields = _unwrap(decoded)
    if type_ is None:
        raise UnreadableBodyError("the object has no type")
    if not isinstance(type_, str) or not type_:
        raise UnreadableBodyError(f"type is not text but {_kind(type_)}")
    if "data" not in fields:
        raise UnreadableBodyError("the object has no data")
    data = fields["data"]
    if not isinstance(data, dict):
        raise UnreadableBodyError(f"data is not an object but {_kind(data)}")
    return Envelope(type_, _text(fields.get("timestamp")), _text(fields.get("business_id")), data, fields)


def kafka_key(envelope: Envelope | None, webhook_id: str) -> bytes:
    """The record key that keeps one customer's webhooks in one partition.

    The customer's id, else the subscription's, payment's or payout's, else (also of an unreadable body) `webhook_id`.
    """
    if envelope is not None:
        data = envelope.data
        customer = data.get("customer")
        found = _id(customer.get("customer_id")) if isinstance(customer, dict) else None
        for name in ("customer_id", "subscription_id", "payment_id", "payout_id"):
            found = found or _id(data.get(name))
        if found:
            return found.encode()
    return webhook_id.encode()


def webhook_id_of(headers: Iterable[tuple[str, bytes | None]], body: bytes) -> str:
    """The `webhook-id` header in any case, else `sha256_…` of the body, so that a redelivery has the same id."""
    for name, value in headers:
        if value and name.lower() == WEBHOOK_ID:
            return value.decode("utf-8", "replace")
    return f"sha256_{hashlib.sha256(body).hexdigest()}"


def _unwrap(decoded: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    payload = decoded.get("payload")
    if isinstance(payload, dict) and "data" not in decoded:
        return decoded.get("eventType") or payload.get("type") or decoded.get("type"), payload
    return decoded.get("type"), decoded


def _id(value: Any) -> str | None:
    """An id as text: a number is the same customer as its text; an object or array is no id."""
    match value:
        case str():
            return value if 0 < len(value.encode()) <= MAX_ID_BYTES else None
        case bool():
            return None
        case int():
            return str(value)
        case _:
            return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _why_not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return "the body is empty"
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8: {fault.reason} at byte {fault.start}"
    return f"not JSON: {error.msg} at character {error.pos}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case "":
            return "empty text"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"
