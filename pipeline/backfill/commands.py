"""Command records: orders to the worker that owns a customer, in the customer's own partition.

They are in the webhooks topic, with the header `dodo-command`. A repeated command changes nothing, so a sender may be
interrupted and begin again.
"""

from __future__ import annotations

import uuid
from typing import Any, Final, Literal

import orjson

from pipeline.dodo.api import Collection
from pipeline.dodo.envelope import MAX_ID_BYTES
from pipeline.errors import InputError
from pipeline.kafka.records import DODO_COMMAND, DODO_MODE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, OutRecord

BACKFILL: Final = "backfill"
FORGET: Final = "forget"

Object = Literal["payment", "refund", "subscription", "customer"]
OBJECTS: Final[dict[Collection, Object]] = {
    "payments": "payment",
    "refunds": "refund",
    "subscriptions": "subscription",
    "customers": "customer",
}
Removal = Literal["delete", "suppress"]
"""At Customer.io: `delete` removes the person, whom a later webhook creates anew; `suppress` also blocks the id."""


def key_of(customer_id: str) -> bytes:
    """The record key of a customer.

    Raises:
        InputError: no customer has such an id.
    """
    key = customer_id.encode("utf-8", "replace")
    if not key.strip() or b"\0" in key or len(key) > MAX_ID_BYTES:
        raise InputError(f"a customer's id has 1 to {MAX_ID_BYTES} bytes and no NUL")
    return key


def backfill_record(
    object_: Object,
    object_id: str,
    data: dict[str, Any],
    customer_id: str,
    *,
    read_at_s: int,
    emit_identify: bool = False,
    revive: bool = False,
) -> OutRecord:
    """The command to take an object of Dodo's API into a customer's state, without an event.

    Args:
        object_: what `data` is.
        object_id: its id.
        data: as the API gave it.
        customer_id: whose it is.
        read_at_s: when it was read, unix seconds: `data` is the state of that time.
        emit_identify: send the customer's profile once it is taken in.
        revive: also if the customer was forgotten, in an earlier second than `read_at_s`.

    Raises:
        InputError: no customer has such an id.
    """
    value = {
        "command": BACKFILL,
        "object": object_,
        "data": data,
        "customer_id": customer_id,
        "read_at": read_at_s,
        "emit_identify": emit_identify,
        "revive": revive,
    }
    return _record(BACKFILL, f"backfill_{object_}_{object_id}", customer_id, value, read_at_s)


def forget_record(customer_id: str, *, customerio: Removal | None, at_s: int) -> OutRecord:
    """The command to forget all about a customer, and what to do with the person at Customer.io, if anything.

    Raises:
        InputError: no customer has such an id.
    """
    value = {"command": FORGET, "customer_id": customer_id, "customerio": customerio, "at": at_s}
    return _record(FORGET, f"forget_{uuid.uuid4().hex}", customer_id, value, at_s)


def _record(command: str, webhook_id: str, customer_id: str, value: dict[str, Any], at_s: int) -> OutRecord:
    return OutRecord(
        key_of(customer_id),
        orjson.dumps(value),
        (
            (DODO_COMMAND, command.encode()),
            (WEBHOOK_ID, webhook_id.encode("utf-8", "replace")[:MAX_ID_BYTES]),
            (WEBHOOK_TIMESTAMP, b"%d" % at_s),
            (DODO_MODE, b"live"),
        ),
    )
