"""What the state keeps about a customer: kinds of facts, their keys, and how two versions of one fact are merged.

A fact is a record of the customers' topic: key `customer NUL kind NUL id`, value a compact JSON array. Whatever comes
again, late, from a worker that lost its partition or from a backfill is merged, and `merge` is commutative,
associative and idempotent: the same set of versions gives the same fact in every order.

Moments are pairs `seconds, milliseconds`: when the data was read (the delivery's time), then when the event happened,
which distinguishes deliveries of one second.

| kind | id | value | of two |
|---|---|---|---|
| payment | payment | minor, currency, time, type, method, card, source, periods, note, goods | webhook's, earliest |
| refund | payment NUL refund | minor, currency, time, partial, source | webhook's, earliest |
| subscription | subscription | see below | the latest, with plans and turns of both |
| charge | subscription | paid, free: each `[ms, payment, type]` | the earliest of both |
| unpaid | "" | payments: moment, id, minor, currency, products, subscriptions, link | the latest five of both |
| card | "" | time (ms), payment, network, last four, month, year: the last payment's | latest |
| trial | subscription | moved ends of its trial: end (ms), seen last (s) | the last seen four of both |
| change | subscription | changes of its plan: moment, product, minor, currency, interval, count | latest four of both |
| replacement | subscription | observations of a changed card: event (ms), method id, by whom | latest eight of both |
| method | subscription | moment, payment method id | latest; an earlier version's replacement |
| activation | subscription | time (ms), webhook-id | earliest |
| cancellation | subscription | observations: moment, flag, webhook-id | the latest eight of both |
| dispute | dispute | time, type | smallest |
| identity | "" | see `identity` | field by field |
| event | ULID | seconds | earliest |
| forgotten | "" | seconds | latest |
| request | "" | see `requests` | latest, people of both |
| shared | "" | version, name, digest: the share that was sent last; `id` if it is no address | newest |
| share (of a person) | customer | version, share: see `shares`; none: taken back | newest |
| person (of a person) | "" | see `shared_person` | newest, attributes of both |
| state (of no customer) | "began" | milliseconds, random id, number of partitions | last in the topic |

A subscription is moment, status, next billing, cancels, created (ms), plans (the latest two), end of its trial (ms),
cancelled, turns (`turns`), days of its trial.

The kinds and how each is merged stay in one module: together they are one version of the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, Literal

import orjson

from pipeline.customerio.operations import Identifier
from pipeline.transform.customers import identity, requests, turns
from pipeline.transform.customers.shape import (
    MAX_CHANGES,
    MAX_CHARGES,
    MAX_OBSERVATIONS,
    MAX_PLANS,
    MAX_REPLACEMENTS,
    MAX_TRIAL_ENDS,
    MAX_UNPAID,
    fits,
)
from pipeline.transform.timestamps import to_ms

Kind = Literal[
    "payment",
    "refund",
    "charge",
    "unpaid",
    "card",
    "subscription",
    "trial",
    "change",
    "replacement",
    "method",
    "activation",
    "cancellation",
    "dispute",
    "identity",
    "event",
    "forgotten",
    "request",
    "shared",
    "share",
    "person",
    "state",
]
Source = Literal["webhook", "api"]
"""The source of a payment or refund. A webhook's was mapped: its event is out, or by the rules it has none."""

Fact = list[Any]

SCHEMA_VERSION: Final = 2
"""Header `schema-version` of every record: the form of values and keys."""

NUL: Final = b"\0"
SEPARATOR: Final = "\0"

TURNS: Final = 9
TRIAL_DAYS: Final = 10
"""Places in a subscription's fact; whoever reads one has names for them (`named`)."""

NOTE: Final = 8
"""The place in a payment's fact for what it confirms of the identity."""

MAX_CUSTOMER_BYTES: Final = 255
"""As for a record's key of the webhooks (`dodo.envelope.MAX_ID_BYTES`)."""

MAX_ID_BYTES: Final = 96
"""A longer id is replaced by its digest: an LMDB key ends at 511 bytes, and a refund's holds the customer and two ids.
Dodo's ids have about 30."""

MAX_FACT_BYTES: Final = 200_000
"""Of a fact with its key. Nearly all have a few hundred; an identity has allow-listed metadata, of whatever size. Below
the batch that the topic is known to take (`kafka.cluster.sizes`): one that it refuses would end every worker that comes
to its webhook, one after the other."""

CLOCKS_S: Final = 2
"""What happened so shortly after a request to be forgotten counts as before it. The mark is the brokers' time, cut to
whole seconds, and an event has Dodo's: within the second, or by a clock that is ahead, a webhook of before would be a
new customer's. Who does come back that soon is known from the next webhook on."""

PERSON_PREFIX: Final = "person:"
"""What the keys of people begin with who are several customers; no customer has such an id at Dodo."""


def prefix(customer: bytes, kind: Kind | None = None, first: str = "") -> bytes:
    """What the keys of a customer begin with; of one kind; of the refunds of payment `first`."""
    if kind is None:
        return customer + NUL
    begin = b"%b\0%b\0" % (customer, kind.encode())
    return begin + short(first).encode() + NUL if first else begin


def key(customer: bytes, kind: Kind, *ids: str) -> bytes:
    """The key of a fact."""
    id_ = short(ids[0]) if len(ids) == 1 else SEPARATOR.join(map(short, ids))
    return customer + f"\0{kind}\0{id_}".encode()


def identity_key(customer: bytes) -> bytes:
    """The key of the one record that every webhook reads and writes."""
    return customer + b"\0identity\0"


def split(key: bytes) -> tuple[bytes, str, str]:
    """Customer, kind and id of a key; what is none of ours has an empty kind."""
    parts = key.split(NUL, 2)
    if len(parts) != 3:  # noqa: PLR2004 - customer, kind, id
        return key, "", ""
    customer, kind, id_ = parts
    return customer, kind.decode("utf-8", "replace"), id_.decode("utf-8", "replace")


def customer_key(customer_id: str | None) -> bytes | None:
    """The customer's part of keys; None for an id that cannot have a state: none, too long, with a NUL, a person's."""
    if not customer_id or SEPARATOR in customer_id or customer_id.startswith(PERSON_PREFIX):
        return None
    encoded = customer_id.encode("utf-8", "replace")
    return encoded if len(encoded) <= MAX_CUSTOMER_BYTES else None


def person_key(name: str, identifier: Identifier = "email") -> bytes:
    """The part of keys of the person who goes by an address or an id; no customer has it.

    It is the key of the records about them, too: the partition follows from the facts' keys, without the
    address. An id that looks like an address is somebody else: Customer.io keeps the two apart.
    """
    named = name if identifier == "email" else f"id{SEPARATOR}{name}"
    return f"{PERSON_PREFIX}{requests.digest_of(named)}".encode()


def short(id_: str) -> str:
    """An id as it stands in a key."""
    if SEPARATOR not in id_ and (len(id_) <= MAX_ID_BYTES if id_.isascii() else len(id_.encode()) <= MAX_ID_BYTES):
        return id_
    encoded = id_.encode()
    return f"#{blake2b(encoded, digest_size=24).hexdigest()}"


def encode(fact: Fact) -> bytes:
    """The fact as it lies in the topic."""
    return orjson.dumps(fact)


def decode(kind: str, value: bytes | None) -> Fact | None:
    """The fact that `value` holds; None when there is none, or it is not of this version's form.

    For what has passed the border (`checked`): it is read many times for each webhook, and only its length is looked
    at.
    """
    if value is None:
        return None
    try:
        fact = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return fact if type(fact) is list and len(fact) >= _LENGTHS.get(kind, 0) else None


def checked(kind: str, value: bytes) -> Fact | None:
    """`decode` at the border, where anything may come from: None for whatever is not wholly of the kind's form.

    Nor is anything of a kind that this version does not know: how two of them are merged, the newer version knows.
    """
    try:
        fact = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return fact if type(fact) is list and fits(kind, fact) else None


def merge(kind: str, old: bytes | None, new: bytes) -> bytes:
    """The merge of two versions of one fact; one that cannot be read gives way to one that can.

    Of two that cannot be read, or whose kind nobody here knows, it is `new`, which lies later in the topic.
    """
    if old is None or old == new:
        return new
    merged = merge_facts(kind, decode(kind, old), decode(kind, new))
    return encode(merged) if merged is not None else new


def merge_at(key: bytes, old: bytes, new: bytes) -> bytes:
    """`merge` for whoever has the key."""
    return merge(split(key)[1], old, new)


def merge_facts(kind: str, old: Fact | None, new: Fact | None) -> Fact | None:
    """The same of decoded facts; None when neither can be read or the kind is unknown."""
    join = _MERGES.get(kind)
    if join is None:
        return None
    if old is None or new is None:
        return old or new
    return join(old, new)


def forgotten_until_ms(forgotten_s: int) -> int:
    """Until when (unix milliseconds) what happens is of before the mark of a forgotten customer; 0: there is none."""
    return (forgotten_s + CLOCKS_S) * 1000 if forgotten_s else 0


def is_before(kind: str, fact: Fact, at_s: int) -> bool:
    """Whether a fact is of before a mark (unix seconds); one without a time is not, it names nobody."""
    match kind:
        case "payment" | "refund":
            ms = to_ms(fact[2])
        case "dispute":
            ms = to_ms(fact[0])
        case "activation" | "card":
            ms = fact[0]
        case "subscription" | "method" | "event":
            ms = fact[0] * 1000
        case "identity":
            ms = fact[1] * 1000
        case "cancellation" | "unpaid" | "change":
            ms = fact[-1][0] * 1000
        case "replacement":
            ms = fact[-1][0]
        case "trial":
            ms = fact[-1][1] * 1000
        case "charge":
            ms = max((charge[0] for charges in charges_of(fact) for charge in charges), default=None)
        case _:
            return False
    return ms is not None and ms < forgotten_until_ms(at_s)


def is_older(name: bytes, value: bytes, at_s: int) -> bool:
    """The same of a stored value; one that cannot be read is not."""
    kind = split(name)[1]
    fact = decode(kind, value)
    return fact is not None and is_before(kind, fact, at_s)


def _payment(old: Fact, new: Fact) -> Fact:
    """The better of two versions of a payment, with the later note (`identity.note_of`) of both.

    A fact of an earlier release has no goods: then those of the other one are kept.
    """
    best = _told_best(old[:8], new[:8])
    notes = [fact[NOTE] for fact in (old, new) if fact[NOTE] is not None]
    goods = [fact[9] for fact in (old, new) if len(fact) > 9 and fact[9] is not None]  # noqa: PLR2004 - its place
    return [
        *best,
        max(notes, key=lambda note: (note[2], encode(note)), default=None),
        max(goods, key=encode, default=None),
    ]


def _told_best(old: Fact, new: Fact) -> Fact:
    return min(old, new, key=_telling)


def _telling(fact: Fact) -> tuple[bool, bool, int, bytes]:
    """One with an amount and currency; then a webhook's before the API's, which has no time of success; the earliest.

    Else what a body left out would take away what another one told, and a backfill could not repair it.
    """
    ms = to_ms(fact[2])
    return fact[0] is None or fact[1] is None, "webhook" not in fact, ms if ms is not None else 0, encode(fact)


def _latest(old: Fact, new: Fact) -> Fact:
    return max(old, new, key=lambda fact: (fact[0], fact[1], encode(fact)))


def _smallest(old: Fact, new: Fact) -> Fact:
    return min(old, new, key=lambda fact: (fact[0], encode(fact)))


def _largest(old: Fact, new: Fact) -> Fact:
    return max(old, new, key=lambda fact: (fact[0], encode(fact)))


def in_this_form(fact: Fact) -> Fact:
    """A subscription's fact in this version's form; earlier ones ended with the plans, or with the cancelling."""
    if len(fact) > TRIAL_DAYS:
        return fact
    happened = turns.read_as(fact[2], fact[0] * 1000, fact[1] or fact[0] * 1000)
    return [*fact[:7], *(fact[7:9] or [None, None]), happened, 0]


def _subscription(old: Fact, new: Fact) -> Fact:
    old, new = in_this_form(old), in_this_form(new)
    states = [(*fact[:6], *fact[7:9], fact[TRIAL_DAYS]) for fact in (old, new)]
    *register, ends_ms, cancelled_at, days = max(states, key=lambda state: (*state[:2], encode([*state])))
    plans, happened = _plans(old[6], new[6]), turns.merged(old[TURNS], new[TURNS])
    return [*register, plans, ends_ms, cancelled_at, happened, days]


def charges_of(fact: Fact) -> Fact:
    """A subscription's charges in this version's form; an earlier one kept the first above 0 alone: `[ms, payment]`."""
    return fact if type(fact[0]) is list else [[[*fact, None]], []]


def _charges(old: Fact, new: Fact) -> Fact:
    """The earliest that were paid, and those that were free; a payment that was seen twice is at its earliest time."""
    old, new = charges_of(old), charges_of(new)
    return [_earliest(old[place], new[place]) for place in (0, 1)]


def _earliest(old: list[Fact], new: list[Fact]) -> list[Fact]:
    known: dict[str, Fact] = {}
    for charge in sorted((*old, *new), key=lambda charge: (charge[0], encode(charge))):
        known.setdefault(charge[1], charge)
    return list(known.values())[:MAX_CHARGES]


def _changes(old: Fact, new: Fact) -> Fact:
    """The latest ones by when they happened, of each what was read first: a retry may show the plan after the next."""
    seen: dict[int, Fact] = {}
    for change in sorted((*old, *new), key=lambda change: (change[0], encode(change))):
        seen.setdefault(change[1], change)
    return sorted(seen.values(), key=lambda change: int(change[1]))[-MAX_CHANGES:]


def _trial_ends(old: Fact, new: Fact) -> Fact:
    """When each end was seen last, the last one at the end."""
    seen: dict[int, int] = {}
    for ends_ms, at_s in (*old, *new):
        seen[ends_ms] = max(at_s, seen.get(ends_ms, at_s))
    latest = sorted((at_s, ends_ms) for ends_ms, at_s in seen.items())[-MAX_TRIAL_ENDS:]
    return [[ends_ms, at_s] for at_s, ends_ms in latest]


def _replacements(old: Fact, new: Fact) -> Fact:
    distinct = {encode(telling): telling for telling in (*old, *new)}
    ordered = sorted(distinct.items(), key=lambda item: (item[1][0], item[0]))
    return [telling for _, telling in ordered[-MAX_REPLACEMENTS:]]


def _plans(old: list[Fact], new: list[Fact]) -> list[Fact]:
    """When each plan was seen last, the latest ones first."""
    seen: dict[bytes, Fact] = {}
    for plan in (*old, *new):
        terms = encode(plan[2:])
        known = seen.get(terms)
        if known is None or plan[:2] > known[:2]:
            seen[terms] = plan
    latest = sorted(seen.items(), key=lambda item: (item[1][0], item[1][1], item[0]), reverse=True)
    return [plan for _, plan in latest[:MAX_PLANS]]


def _observations(old: Fact, new: Fact) -> Fact:
    distinct = {encode(observation): observation for observation in (*old, *new)}
    ordered = sorted(distinct.items(), key=lambda item: (item[1][0], item[1][1], item[0]))
    return [observation for _, observation in ordered[-MAX_OBSERVATIONS:]]


def _unpaid(old: Fact, new: Fact) -> Fact:
    """Of each payment what was seen last, and of the payments the latest ones, the oldest first."""
    seen: dict[str, Fact] = {}
    for entry in (*old, *new):
        known = seen.get(entry[2])
        if known is None or (entry[:2], encode(entry)) > (known[:2], encode(known)):
            seen[entry[2]] = entry
    return sorted(seen.values(), key=lambda entry: (entry[0], entry[1], entry[2]))[-MAX_UNPAID:]


def _person(old: Fact, new: Fact) -> Fact:
    """What was recorded last, and all that was on the profile at any time."""
    said = max(old, new, key=lambda fact: (fact[0], fact[2] or ""))
    return [said[0], max(old[1], new[1]), said[2], sorted({*old[3], *new[3]})]


_MERGES: Final[dict[str, Callable[[Fact, Fact], Fact]]] = {
    "payment": _payment,
    "refund": _told_best,
    "charge": _charges,
    "unpaid": _unpaid,
    "card": _largest,
    "subscription": _subscription,
    "trial": _trial_ends,
    "change": _changes,
    "replacement": _replacements,
    "method": _latest,
    "activation": _smallest,
    "cancellation": _observations,
    "dispute": _smallest,
    "identity": identity.merge,
    "event": _smallest,
    "forgotten": _largest,
    "request": requests.merge,
    "shared": _largest,
    "share": _largest,
    "person": _person,
    "state": _smallest,
}

_LENGTHS: Final = {
    "payment": 9,
    "refund": 5,
    "charge": 2,
    "unpaid": 1,
    "card": 6,
    "subscription": 7,
    "trial": 1,
    "change": 1,
    "replacement": 1,
    "method": 3,
    "activation": 2,
    "cancellation": 1,
    "dispute": 2,
    "identity": identity.LENGTH,
    "event": 1,
    "forgotten": 1,
    "request": requests.LENGTH,
    "shared": 3,
    "share": 2,
    "person": 4,
    "state": 2,
}
