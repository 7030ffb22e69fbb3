"""Builds Track API v2 operations as the exact bytes that are sent: compact JSON, checked where it is built.

Only the forms that this pipeline needs, all for a person: `identify`, `event`, `merge`, and `delete` or `suppress` for
somebody who is to be forgotten. The rules are those of the published OpenAPI document; a custom event is
`action: "event"` with a `name`, never an action of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from pipeline.customerio.attributes import Cut, CutReason, fit_attributes, fit_json
from pipeline.customerio.limits import (
    EVENT_NAME_MAX_BYTES,
    ITEM_MAX_BYTES,
    PERSON_ID_MAX_BYTES,
    TIMESTAMP_MAX_S,
    TIMESTAMP_MIN_S,
)
from pipeline.errors import OperationError, OversizeError

__all__ = [
    "Attributes",
    "Cut",
    "CutReason",
    "Identifier",
    "Removal",
    "event",
    "fit_attributes",
    "fit_json",
    "identify",
    "merge",
    "removal",
]

Attributes = Mapping[str, Any] | bytes
"""As `fit_attributes` returned them, or as `fit_json` wrote them."""

Removal = Literal["delete", "suppress"]
"""`delete` removes a person, whom a later call creates anew; `suppress` removes and ignores the identifier from then
on, until somebody lifts it in the workspace."""

Identifier = Literal["id", "email"]
"""How a person is addressed. `email` only in workspaces that use e-mail addresses as identifiers."""

_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
"""https://github.com/ulid/spec: 26 characters of Crockford's base 32; a first digit above 7 exceeds 128 bits."""


def identify(person_id: str, attributes: Attributes, *, timestamp_s: int, identifier: Identifier = "id") -> bytes:
    """The bytes that create or update a person.

    Args:
        person_id: the value of `identifier`, 1 to 150 bytes.
        attributes: inside Customer.io's limits.
        timestamp_s: unix seconds of what the attributes describe. Customer.io ignores an identify that is older than
            the profile's last edit.
        identifier: which identifier `person_id` is.

    Raises:
        OversizeError: the operation is larger than Customer.io takes.
        OperationError: the id, the time or an attribute cannot be part of an operation.
    """
    begin = _of_person(identifier, person_id)
    _check_time(timestamp_s)
    return _fitting(b'%b"identify","timestamp":%d,"attributes":%b}' % (begin, timestamp_s, _json(attributes)))


def event(
    person_id: str,
    name: str,
    *,
    id: str,  # noqa: A002 - the API's own word, and keyword-only
    timestamp_s: int,
    attributes: Attributes,
    identifier: Identifier = "id",
) -> bytes:
    """The bytes that record one event of a person.

    Args:
        person_id: the value of `identifier`, 1 to 150 bytes.
        name: what campaigns are triggered by; trimmed as Customer.io does, then 1 to 100 bytes. A longer name is
            refused, not cut: no campaign is triggered by a name that was cut.
        id: a ULID in upper case, the same for every delivery of the same event; Customer.io ignores a repeated one.
        timestamp_s: unix seconds when it happened.
        attributes: inside Customer.io's limits.
        identifier: which identifier `person_id` is.

    Raises:
        OversizeError: the operation is larger than Customer.io takes.
        OperationError: the person, name, id, time or an attribute cannot be part of an operation.
    """
    begin = _of_person(identifier, person_id)
    _check_time(timestamp_s)
    named = _named(name)
    if not _ULID.fullmatch(id):
        raise OperationError("an event's id is a ULID: 26 characters of Crockford's base 32, upper case", field="id")
    return _fitting(
        b'%b"event","name":%b,"id":"%b","timestamp":%d,"attributes":%b}'
        % (begin, named, id.encode(), timestamp_s, _json(attributes))
    )


def merge(
    primary: str, secondary: str, *, identifier: Identifier = "id", secondary_identifier: Identifier | None = None
) -> bytes:
    """The bytes that merge one person into another, who then has what both had; irreversible.

    Unlike every other operation it has no `identifiers`. Customer.io does nothing while the primary does not exist.

    Args:
        primary: the value of `identifier` of the person who stays.
        secondary: the same of the person who goes.
        identifier: which identifier the primary is.
        secondary_identifier: which one the secondary is; None: the same.

    Raises:
        OperationError: one of them cannot be a person, or both are the same.
    """
    _check_person(primary)
    _check_person(secondary)
    kind = secondary_identifier or identifier
    if (identifier, primary) == (kind, secondary):
        raise OperationError("a person cannot be merged into itself", field="secondary")
    return _serialise(
        {"type": "person", "action": "merge", "primary": {identifier: primary}, "secondary": {kind: secondary}}
    )


def removal(person_id: str, action: Removal, *, identifier: Identifier = "id") -> bytes:
    """The bytes that delete or suppress a person in the workspace; irreversible.

    Raises:
        OperationError: the id cannot be part of an operation.
    """
    _check_person(person_id)
    return _serialise({"type": "person", "identifiers": {identifier: person_id}, "action": action})


def _check_person(person_id: str) -> None:
    if not person_id.strip() or len(person_id.encode("utf-8", "replace")) > PERSON_ID_MAX_BYTES:
        raise OperationError(f"a person's id has 1 to {PERSON_ID_MAX_BYTES} bytes", field="identifiers")


@lru_cache(maxsize=1024)
def _of_person(identifier: Identifier, person_id: str) -> bytes:
    """The first bytes of an operation on a person, checked; cached: a webhook has two of them, and customers return."""
    _check_person(person_id)
    return b'{"type":"person","identifiers":%b,"action":' % _json({identifier: person_id})


@lru_cache(maxsize=256)
def _named(name: str) -> bytes:
    """An event's name as JSON, checked."""
    name = name.strip()
    if not name or len(name.encode("utf-8", "replace")) > EVENT_NAME_MAX_BYTES:
        raise OperationError(f"an event's name has 1 to {EVENT_NAME_MAX_BYTES} bytes", field="name")
    return _json(name)


def _check_time(timestamp_s: int) -> None:
    if not TIMESTAMP_MIN_S <= timestamp_s <= TIMESTAMP_MAX_S:
        raise OperationError("a timestamp is in unix seconds: milliseconds and zero are not", field="timestamp")


def _json(value: Attributes | str) -> bytes:
    if type(value) is bytes:
        return value
    try:
        return orjson.dumps(value)
    except TypeError as error:
        why = str(error)
    raise OperationError(f"the operation cannot be JSON: {why}", field="attributes")  # without a context that holds it


def _serialise(operation: dict[str, Any]) -> bytes:
    return _fitting(_json(operation))


def _fitting(item: bytes) -> bytes:
    if len(item) > ITEM_MAX_BYTES:
        raise OversizeError(
            f"the operation has {len(item):,} bytes, Customer.io takes {ITEM_MAX_BYTES:,}", field="attributes"
        )
    return item
