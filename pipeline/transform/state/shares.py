"""A customer's part of a person who goes by an e-mail address, and the commands that carry it to whoever adds up.

Two customers of one address are one person and lie in different partitions, under different owners. So each owner sends
the customer's share to the person's partition (`facts.person_key`), where `household` adds the shares up.
A share is sent when it changed, and behind every identify of the customer, whose time the person's must not fall below.
Its version never falls for a customer, so one that comes late or again does not undo a newer one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import orjson

from pipeline.kafka.records import DODO_COMMAND, DODO_MODE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, OutRecord
from pipeline.transform.identity import EMAIL_STEP
from pipeline.transform.policy import Policy
from pipeline.transform.state.book import Book
from pipeline.transform.state.facts import decode, encode, key, person_key, short
from pipeline.transform.state.sheet import told_sums
from pipeline.transform.state.shelf import Shelf
from pipeline.transform.verdicts import Operations

SHARE: Final = "share"
"""The command."""

Share = dict[str, Any]

_DIGEST_BYTES: Final = 16

Commands = tuple[OutRecord, ...]
"""Records for the webhooks topic, durable behind the operations of the record that they follow from."""


def shares_of(
    shelf: Shelf, customer_id: str, customer: bytes, book: Book, said: Operations, *, at_ms: int, policy: Policy
) -> Commands:
    """What the person's owner must learn after `book` is settled with `said`; nothing where people go by another id.

    `at_ms` is the time of the record in its topic: a floor for the version, should the state have been lost.
    """
    if said.identified_by != EMAIL_STEP:
        return ()
    address = said.person_key.decode()
    share = share_of(book)
    digest = blake2b(orjson.dumps(share, option=orjson.OPT_SORT_KEYS), digest_size=_DIGEST_BYTES).hexdigest()
    shared_key = key(customer, "shared", "")
    version, before, known = decode("shared", shelf.get(shared_key)) or (0, None, None)
    told = any(operation.kind == "identify" for operation in said.operations)
    if not told and (before, known) == (address, digest):
        return ()
    version = max(version + 1, at_ms)
    delivered_s = book.delivered_at_s
    commands = [_record(customer_id, address, version, delivered_s, share, told=told)]
    if before not in {None, address}:
        # After a merge the former person is gone: an identify would bring an empty one back.
        gone = policy.merge_on_email_change
        commands.insert(0, _record(customer_id, before, version, delivered_s, None, removed=gone))
    shelf.put(shared_key, encode([version, address, digest]))
    return tuple(commands)


def withdrawn(shelf: Shelf, customer_id: str, customer: bytes, *, at_ms: int, at_s: int) -> Commands:
    """What takes the share of a forgotten customer back. What stays of it is the version's number."""
    shared_key = key(customer, "shared", "")
    version, address, _ = decode("shared", shelf.get(shared_key)) or (0, None, None)
    if address is None:
        return ()
    version = max(version + 1, at_ms)
    shelf.put(shared_key, encode([version, None, None]))
    return (_record(customer_id, address, version, at_s, None, removed=True),)


def share_of(book: Book) -> Share:
    """What the customer adds to the person."""
    sheet = book.sheet
    return {
        "payment_count": sheet.count,
        "spent": told_sums(sheet.spent),
        "first": sheet.first,
        "base": sheet.base,
        "last": sheet.last,
        "method": sheet.method,
        "has_lost_dispute": sheet.lost,
        "live": sheet.live,
        "rest": sheet.rest,
        **({} if sheet.card is None else {"card": sheet.card}),
        "contact": list(book.contact),
        "metadata": book.metadata,
    }


def _record(
    customer_id: str,
    address: str,
    version: int,
    delivered_s: int,
    share: Share | None,
    *,
    told: bool = True,
    removed: bool = False,
) -> OutRecord:
    value = {
        "command": SHARE,
        "customer_id": customer_id,
        "email": address,
        "version": version,
        "delivered": delivered_s,
        "told": told,
        "removed": removed,
        "share": share,
    }
    return OutRecord(
        person_key(address),
        orjson.dumps(value),
        (
            (DODO_COMMAND, SHARE.encode()),
            (WEBHOOK_ID, f"share_{short(customer_id)}_{version}".encode()),
            (WEBHOOK_TIMESTAMP, b"%d" % delivered_s),
            (DODO_MODE, b"live"),
        ),
    )
