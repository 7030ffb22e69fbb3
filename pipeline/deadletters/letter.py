"""Reads a dead letter: its place, what failed and why, and which customer it is about.

Any record in the topic can be read: a header or a body that is missing or malformed leaves its field None.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from pipeline.deadletters.envelope import replays_of
from pipeline.dodo.envelope import parse
from pipeline.errors import InputError, UnreadableBodyError
from pipeline.kafka.fetched import UnreadableRecord
from pipeline.kafka.records import (
    DLQ_AT,
    DLQ_ATTEMPTS,
    DLQ_CLASS,
    DLQ_FIELD,
    DLQ_REASON,
    DLQ_SOURCE,
    DLQ_STAGE,
    DLQ_STATUS,
    DODO_TYPE,
    OP_ID,
    WEBHOOK_ID,
    Record,
    int_header,
    text_header,
)

PLACE: Final = re.compile(r"(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")

IDENTITY_BYTES: Final = 12
"""Two of five million letters share an identity by chance with a probability of 10⁻¹⁶."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The place of a letter in the dead-letter topic."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that `str` wrote.

        Raises:
            InputError: it does not look like `0/12`.
        """
        found = PLACE.fullmatch(text.strip())
        if found is None:
            raise InputError(f"{text!r} is no place of a dead letter: give PARTITION/OFFSET, as in 0/12")
        return cls(int(found["partition"]), int(found["offset"]))

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        place: partition and offset in the dead-letter topic.
        stage: the stage that gave up; None when the record is no dead letter at all.
        at_ms: when it failed, unix ms; the record's own time without the header.
        customer_id: the customer's or the person's id that the body names; never the key, which may be a webhook's id.
        ids: all by which a customer may be searched for: the key, ids and address of the body.
        email: the customer's or the person's address, as the body has it.
        name: the customer's or the person's name, as the body has it.
        identity: a digest that is equal for all letters about the same failed record, at whatever place.
    """

    place: Place
    stage: str | None
    class_: str | None
    type: str | None
    at_ms: int
    reason: str | None
    field: str | None
    status: int | None
    source: str | None
    attempts: int | None
    replays: int
    webhook_id: str | None
    op_id: str | None
    customer_id: str | None
    ids: frozenset[str]
    email: str | None
    name: str | None
    identity: bytes


def read_letter(record: Record) -> Letter:
    """Read `record` of the dead-letter topic; never raises."""
    headers = record.headers
    stage = text_header(headers, DLQ_STAGE)
    whose = _of_operation(record.value) if stage == "sink" else _of_webhook(record.value)
    key = record.key.decode("utf-8", "replace") if record.key else None
    at_ms = int_header(headers, DLQ_AT)
    return Letter(
        place=Place(record.partition, record.offset),
        stage=stage,
        class_=text_header(headers, DLQ_CLASS),
        type=text_header(headers, DODO_TYPE) or whose.type,
        at_ms=record.timestamp if at_ms is None else at_ms,
        reason=text_header(headers, DLQ_REASON) or (record.fault if type(record) is UnreadableRecord else None),
        field=text_header(headers, DLQ_FIELD),
        status=int_header(headers, DLQ_STATUS),
        source=text_header(headers, DLQ_SOURCE),
        attempts=int_header(headers, DLQ_ATTEMPTS),
        replays=replays_of(headers),
        webhook_id=text_header(headers, WEBHOOK_ID),
        op_id=text_header(headers, OP_ID),
        # Without a body that names a customer, the key may be the webhook's id, or any text of another producer.
        customer_id=next(iter(whose.ids), None),
        ids=frozenset(filter(None, (key, whose.email, *whose.ids))),
        email=whose.email,
        name=whose.name,
        identity=_identity(record),
    )


def json_object(value: bytes | None) -> dict[str, Any] | None:
    """The JSON object that `value` holds, None when it holds anything else."""
    try:
        decoded = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


@dataclass(frozen=True, slots=True)
class _Whose:
    type: str | None = None
    ids: tuple[str, ...] = ()
    email: str | None = None
    name: str | None = None


def _of_webhook(value: bytes | None) -> _Whose:
    try:
        envelope = parse(value or b"")
    except UnreadableBodyError:
        return _Whose()
    data = envelope.data
    customer = _members(data.get("customer"))
    return _Whose(
        envelope.type,
        _texts(customer.get("customer_id"), data.get("customer_id")),
        _text(customer.get("email")),
        _text(customer.get("name")),
    )


def _of_operation(value: bytes | None) -> _Whose:
    operation = json_object(value) or {}
    identifiers = _members(operation.get("identifiers"))
    attributes = _members(operation.get("attributes"))
    address = _text(identifiers.get("email"))
    return _Whose(
        None,
        _texts(identifiers.get("id"), identifiers.get("cio_id"), address),
        address or _text(attributes.get("email")),
        _text(attributes.get("name")),
    )


def _identity(record: Record) -> bytes:
    """A digest of source, key and value; not of the place, which changes in a mirrored or restored topic."""
    digest = hashlib.blake2b(digest_size=IDENTITY_BYTES)
    for name in (DLQ_STAGE, DLQ_SOURCE, WEBHOOK_ID):
        _feed(digest, (text_header(record.headers, name) or "").encode())
    _feed(digest, record.key or b"")
    _feed(digest, record.value or b"")
    return digest.digest()


def _feed(digest: hashlib.blake2b, part: bytes) -> None:
    digest.update(b"%d:" % len(part))
    digest.update(part)


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(*values: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for value in values if (found := _text(value)) is not None))


def _text(value: Any) -> str | None:
    """Text, or a number that stands for an id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
