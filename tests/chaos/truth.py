"""What a shop's webhooks must have become, and every way in which that which was seen differs from it.

Two witnesses: the simulated shop's own ledger (payments, totals, the order of each customer's webhooks), which never
saw the pipeline's code, and an offline run of the mapping over the webhooks in the order of posting, with a state in
memory and a Customer.io workspace of its own: no Kafka, no processes, no retries. Repeats change neither.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo.envelope import parse
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.errors import UnreadableBodyError
from pipeline.kafka.records import WEBHOOK_ID, WEBHOOK_TIMESTAMP
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Operations
from tests.records import Consumed

SHOWN = 5
"""Examples of each fault; the count is always exact."""


_TOTAL = re.compile("total_spent_[a-z]{3}_minor")


class Posted(NamedTuple):
    """A request as it was made: a repeat of it has the same time, as a proxy's would."""

    delivery: Delivery
    timestamp: bytes
    """The header `webhook-timestamp`."""


class Event(NamedTuple):
    """An event, comparable byte for byte."""

    id: str
    person: str
    name: str
    timestamp: int
    attributes: bytes

    @classmethod
    def of(cls, id_: str, person: str, name: str, timestamp: int, attributes: Mapping[str, Any]) -> Event:
        """With the attributes in one order."""
        return cls(id_, person, name, timestamp, orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS))

    @property
    def webhook_id(self) -> str:
        """The webhook that told it."""
        return str(orjson.loads(self.attributes)["webhook_id"])


DeadLetter = tuple[str, str, str]
"""Stage, class and webhook id."""


@dataclass
class Outcome:
    """What there is in the end."""

    events: list[Event]
    """In the order of their first acceptance."""

    profiles: dict[str, dict[str, Any]]
    """Person → address and attributes."""

    dead_letters: set[DeadLetter] = field(default_factory=set)
    stored: list[tuple[str, str]] = field(default_factory=list)
    """Customer and webhook id of each record in the webhooks' topic; a customer's in the order of offsets."""

    refused: int = 0
    """Operations that Customer.io did not take."""


def work_out(posted: Iterable[Posted], policy: Policy, *, now_ms: int) -> Outcome:
    """The outcome of these requests, each taken once and in this order."""
    store, workspace = MemoryStore(now_ms), Workspace(SandboxConfig(keep_events=10_000_000))
    truth = Outcome([], {})
    for number, (delivery, timestamp) in enumerate(posted):
        if delivery.kind == "forged":
            continue
        try:
            parse(delivery.body)
        except UnreadableBodyError:
            truth.dead_letters.add(("ingest", "unreadable", delivery.webhook_id))
            continue
        truth.stored.append((delivery.customer_id or "", delivery.webhook_id))
        headers = ((WEBHOOK_ID, delivery.webhook_id.encode()), (WEBHOOK_TIMESTAMP, timestamp))
        match decide(Consumed(delivery.body, headers), policy, map_webhook, store).verdict:
            case Operations(operations=operations):
                for operation in operations:
                    workspace.apply(orjson.loads(operation.body), Arrival(now_ms, number), 0)
            case DeadLettered(class_=class_):
                truth.dead_letters.add(("transform", class_, delivery.webhook_id))
    for event in workspace.events:
        truth.events.append(event_of(orjson.loads(orjson.dumps(event.as_json()))))
    for person in workspace.people:
        truth.profiles[person.label] = profile_of(orjson.loads(orjson.dumps(person.as_json())))
    return truth


def event_of(shown: Mapping[str, Any]) -> Event:
    """An event as the sandbox shows it."""
    return Event.of(shown["id"], shown["person"], shown["name"], shown["timestamp"], shown["attributes"] or {})


def profile_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What of a person is the pipeline's doing."""
    return {"email": shown["email"], **shown["attributes"]}


def faults(shop: Shop, deliveries: Sequence[Delivery], truth: Outcome, seen: Outcome) -> list[str]:
    """One line for each kind of difference; none when everything is as it must be."""
    found = [
        *_mapped(truth, seen),
        *_stored(deliveries, seen),
        *_in_order(shop, deliveries, seen),
        *_worth(shop, seen),
    ]
    wrong = truth.dead_letters ^ seen.dead_letters
    _tell(found, "dead letters that are missing or should not be", sorted(wrong))
    if seen.refused:
        found.append(f"{seen.refused} operations refused")
    return found


def _mapped(truth: Outcome, seen: Outcome) -> list[str]:
    """Against the offline run: every event and profile."""
    found: list[str] = []
    due, came = {one.id: one for one in truth.events}, {one.id: one for one in seen.events}
    _tell(found, "events missing", [due[one] for one in due.keys() - came.keys()])
    _tell(found, "events that nobody told", [came[one] for one in came.keys() - due.keys()])
    _tell(found, "events taken twice", [one for one, times in Counter(e.id for e in seen.events).items() if times > 1])
    altered = [(due[one], came[one]) for one in due.keys() & came.keys() if due[one] != came[one]]
    _tell(found, "events that differ", altered)
    order, of_due = _by_person(seen.events), _by_person(truth.events)
    disordered = [(one, of_due[one], ids) for one, ids in order.items() if one in of_due and ids != of_due[one]]
    _tell(found, "people whose events came in another order", disordered)
    people = truth.profiles.keys() | seen.profiles.keys()
    profiles = [
        (one, truth.profiles.get(one), seen.profiles.get(one))
        for one in people
        if truth.profiles.get(one) != seen.profiles.get(one)
    ]
    _tell(found, "profiles that differ", profiles)
    return found


def _stored(deliveries: Sequence[Delivery], seen: Outcome) -> list[str]:
    """Against the shop: every genuine webhook lies in its topic, and no other."""
    found: list[str] = []
    due = {one.webhook_id for one in deliveries if one.kind in {"first", "redelivery"}}
    have = {webhook_id for _, webhook_id in seen.stored}
    _tell(found, "webhooks that were answered and are not stored", sorted(due - have))
    _tell(found, "webhooks stored that nobody sent", sorted(have - due))
    return found


def _in_order(shop: Shop, deliveries: Sequence[Delivery], seen: Outcome) -> list[str]:
    """Against the ledger: each customer's webhooks and events, by the first that came of each."""
    found: list[str] = []
    stored: dict[str, list[str]] = defaultdict(list)
    for customer, webhook_id in dict.fromkeys(seen.stored):
        stored[customer].append(webhook_id)
    sequences = shop.ledger.sequences
    turned = [(one, ids) for one, ids in stored.items() if one in sequences and ids != sequences[one]]
    _tell(found, "customers whose webhooks are stored in another order", turned)
    again = {one.webhook_id for one in deliveries if one.kind == "redelivery"}  # may tell an event at its own time
    last: dict[str, int] = {}
    positions = {customer: {wid: n for n, wid in enumerate(ids)} for customer, ids in sequences.items()}
    early = []
    for event in seen.events:
        at = positions.get(event.person, {}).get(event.webhook_id)
        if at is None or event.webhook_id in again:
            continue
        if at < last.get(event.person, -1):
            early.append(event)
        last[event.person] = max(at, last.get(event.person, -1))
    _tell(found, "events after one of a later webhook", early)
    return found


def _worth(shop: Shop, seen: Outcome) -> list[str]:
    """Against the ledger: money, by currency and by customer."""
    found: list[str] = []
    payments: dict[str, tuple[int, int]] = {}
    for event in seen.events:
        if event.name == "payment_completed":
            paid = orjson.loads(event.attributes)
            times, total = payments.get(paid["currency"], (0, 0))
            payments[paid["currency"]] = (times + 1, total + paid["payment_amount_minor"])
    if payments != shop.ledger.payments:
        found.append(f"payments completed: {payments}, the shop's ledger: {shop.ledger.payments}")
    wrong = []
    for customer, purse in shop.ledger.spent.items():
        due = {f"total_spent_{currency.lower()}_minor": paid - back for currency, (paid, back) in purse.items()}
        profile = seen.profiles.get(customer, {})
        have = {name: value for name, value in profile.items() if _TOTAL.fullmatch(name)}
        if have != due:
            wrong.append((customer, due, have))
    _tell(found, "customers with a wrong total", wrong)
    return found


def _by_person(events: Iterable[Event]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for event in dict.fromkeys(events):
        ids[event.person].append(event.id)
    return ids


def _tell(found: list[str], what: str, examples: Sequence[Any]) -> None:
    if examples:
        shown = "\n    ".join(repr(one)[:2000] for one in examples[:SHOWN])
        found.append(f"{len(examples)} {what}:\n    {shown}")
