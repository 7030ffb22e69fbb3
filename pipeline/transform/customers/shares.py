"""A customer's part of the person whom the identity policy names, and the commands that carry it to whoever adds up.

Two customers of one address, or with one id in their metadata, are one person and lie in different partitions, under
different owners. So each owner sends the customer's share to the person's partition (`facts.person_key`), where
`household` adds the shares up. No owner knows whether another customer is the same person: so it does for everybody,
unless people go by the customer's id in the first place (`Policy.pools`).
Of many subscriptions it has the one that speaks for the customer, how many more are active, and their products.
A share is sent when it changed, and behind every identify of the customer, whose time the person's must not fall below.
Its version never falls for a customer, so one that comes late or again does not undo a newer one.

A share that is taken back tells what was done at Customer.io: the person was removed, or merged into another. Whoever
adds up may be behind, and send an identify for an earlier share after that; so they do it again when they come to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from pipeline.customerio.operations import Identifier, Removal
from pipeline.kafka.records import DODO_COMMAND, DODO_MODE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, OutRecord
from pipeline.statestore.store import KeyValueStore
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.facts import Fact, decode, encode, key, person_key, short
from pipeline.transform.customers.identity import DELIVERED
from pipeline.transform.customers.summary import told_sums
from pipeline.transform.fields import email
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Operations

SHARE: Final = "share"
"""The command."""

Share = dict[str, Any]

NOTHING: Final[Share] = {
    "payment_count": 0,
    "spent": {},
    "first": None,
    "base": None,
    "last": None,
    "method": None,
    "has_lost_dispute": False,
    "live": {},
    "rest": None,
    "contact": [None, None, None, None],
    "metadata": {},
}
"""The share of a customer of whom nothing is known."""

_DIGEST_BYTES: Final = 16

_BY_ADDRESS: Final = 3
"""Elements of the fact `shared` about an address; one about an id has a fourth."""

Commands = tuple[OutRecord, ...]
"""Records for the webhooks topic, durable behind the operations of the record that they follow from."""


def shares_of(
    store: KeyValueStore,
    customer_id: str,
    customer: bytes,
    view: CustomerView,
    said: Operations | None,
    *,
    at_ms: int,
    policy: Policy,
) -> Commands:
    """What the person's owner must learn after `view` is settled with `said`; nothing where people go by another id.

    Nor of a customer of whom nothing has been sent (`said` is None) to anybody yet: nobody is there to be changed.
    `at_ms` is the time of the record in its topic: a floor for the version, should the state have been lost.
    """
    if not policy.pools:
        return ()
    shared_key = key(customer, "shared", "")
    shared = decode("shared", store.get(shared_key))
    before = shared_with(shared)
    who = before if said is None else Whom(said.person_key.decode(), said.identifier)
    if who is None:
        return ()
    share = share_of(view)
    digest = blake2b(orjson.dumps(share, option=orjson.OPT_SORT_KEYS), digest_size=_DIGEST_BYTES).hexdigest()
    version, _, known, *_ = shared or (0, None, None)
    operations = () if said is None else said.operations
    told = any(operation.kind == "identify" for operation in operations)
    if not told and ((before, known) == (who, digest) or (before is None and share == NOTHING)):
        return ()
    version = max(version + 1, at_ms)
    delivered_s = view.summary.identity[DELIVERED]
    commands = [_record(customer_id, who, version, delivered_s, share, told=told)]
    if before is not None and before != who:
        # After a merge the former person is gone: an identify would bring an empty one back.
        by_address = before.identifier == who.identifier == "email"
        gone = policy.merge_on_email_change if by_address else policy.merge_default_id and before.name == customer_id
        into = who if gone and any(operation.kind == "merge" for operation in operations) else None
        commands.insert(0, _record(customer_id, before, version, delivered_s, None, removed=gone, merged_into=into))
    store.put(shared_key, encode(_shared(version, who, digest)))
    return tuple(commands)


class Whom(NamedTuple):
    """A person as whose part a share is sent: an address in lower case, or an id."""

    name: str
    identifier: Identifier

    @property
    def is_told(self) -> bool:
        """Whether a share can name the person: an earlier version took more for an address."""
        return self.identifier == "id" or self.name == (email(self.name) or "").lower()


def shared_with(shared: Fact | None) -> Whom | None:
    """Whose owner got the customer's share last; None: nobody's, or it was taken back."""
    if shared is None or shared[1] is None:
        return None
    return Whom(shared[1], "id" if len(shared) > _BY_ADDRESS else "email")


def _shared(version: int, who: Whom, digest: str) -> Fact:
    return [version, who.name, digest] if who.identifier == "email" else [version, who.name, digest, who.identifier]


def withdrawn(
    store: KeyValueStore,
    customer_id: str,
    customer: bytes,
    removed: Iterable[Whom],
    action: Removal | None,
    *,
    at_ms: int,
    at_s: int,
) -> Commands:
    """What takes the share of a forgotten customer back. What stays of it is the version's number.

    Args:
        store: of the customer's partition.
        customer_id: Dodo's id.
        customer: the customer's part of keys.
        removed: whom `action` removes at Customer.io. Their owners may have earlier shares to read, whether or not one
            of them has the last: the customer moved, or an earlier request took it back.
        action: None: the request removes nobody.
        at_ms: the time of the request's record.
        at_s: of the request.
    """
    shared_key = key(customer, "shared", "")
    shared = decode("shared", store.get(shared_key))
    last = shared_with(shared)
    owners: dict[Whom, Removal | None] = {} if last is None else {last: None}
    owners |= {who: action for who in removed if who.is_told}
    if not owners:
        return ()
    version = max((0 if shared is None else shared[0]) + 1, at_ms)
    store.put(shared_key, encode([version, None, None]))
    return tuple(
        _record(customer_id, who, version, at_s, None, removed=True, customerio=action)
        for who, action in owners.items()
    )


def share_of(view: CustomerView) -> Share:
    """What the customer adds to the person."""
    summary = view.summary
    return {
        "payment_count": summary.count,
        "spent": told_sums(summary.spent),
        "first": summary.first,
        "base": summary.base,
        "last": summary.last,
        "method": summary.method,
        "has_lost_dispute": summary.lost,
        "live": {} if summary.live is None else {summary.live[0]: summary.live[1:]},
        "rest": summary.rest,
        **({"more_active": [summary.active - 1, summary.products]} if summary.active > 1 else {}),
        **({} if summary.card is None else {"card": summary.card}),
        "contact": list(view.contact),
        "metadata": view.metadata,
    }


def _record(
    customer_id: str,
    who: Whom,
    version: int,
    delivered_s: int,
    share: Share | None,
    *,
    told: bool = True,
    removed: bool = False,
    customerio: Removal | None = None,
    merged_into: Whom | None = None,
) -> OutRecord:
    value: dict[str, Any] = {
        "command": SHARE,
        "customer_id": customer_id,
        who.identifier: who.name,
        "version": version,
        "delivered": delivered_s,
        "told": told,
        "removed": removed,
        "share": share,
    }
    if customerio is not None:
        value["customerio"] = customerio
    if merged_into is not None:
        value["merged_into"] = {merged_into.identifier: merged_into.name}
    return OutRecord(
        person_key(*who),
        orjson.dumps(value),
        (
            (DODO_COMMAND, SHARE.encode()),
            (WEBHOOK_ID, f"share_{short(customer_id)}_{version}".encode()),
            (WEBHOOK_TIMESTAMP, b"%d" % delivered_s),
            (DODO_MODE, b"live"),
        ),
    )
