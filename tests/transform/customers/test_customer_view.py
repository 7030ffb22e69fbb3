"""What a webhook finds of its customer, and leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.customer_view import EVENT_KEPT_S
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.timestamps import iso
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, Operations
from tests.records import Consumed

CUSTOMER = b"cus_0NExampleCustomer0001"
NOW_S = 1_792_000_000


def webhook(sample: str, webhook_id: str = "msg_1", *, at_s: int = NOW_S, mode: str = "live", **data: Any) -> Consumed:
    """A sample that happened and was delivered at `at_s`, some fields changed."""
    body = orjson.loads(samples.load(sample))
    body["data"].update(data)
    body["timestamp"] = iso(at_s * 1000)
    headers = (("webhook-id", webhook_id.encode()), ("webhook-timestamp", b"%d" % at_s), ("dodo-mode", mode.encode()))
    return Consumed(orjson.dumps(body), headers)


@dataclass
class CountingStore:
    """Counts calls, and how far scans are read."""

    store: MemoryStore = field(default_factory=MemoryStore)
    calls: Counter[str] = field(default_factory=Counter)
    began_at_ms: int = 0
    ownership: None = None

    def get(self, key: bytes) -> bytes | None:
        """One read."""
        self.calls["get"] += 1
        return self.store.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """One read for each entry."""
        self.calls["scan"] += 1
        for entry in self.store.scan(prefix):
            self.calls["scanned"] += 1
            yield entry

    def put(self, key: bytes, value: bytes | None) -> None:
        """One write."""
        self.calls["put"] += 1
        self.calls["put bytes"] += len(value or b"")
        self.store.put(key, value)

    def derived(self, key: bytes) -> bytes | None:
        """One read."""
        self.calls["derived"] += 1
        return self.store.derived(key)

    def derived_between(self, start: bytes, stop: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """One read for each entry."""
        self.calls["scan"] += 1
        for entry in self.store.derived_between(start, stop, backwards=backwards):
            self.calls["scanned"] += 1
            yield entry

    def put_derived(self, key: bytes, value: bytes | None) -> None:
        """One write of a mirror."""
        self.calls["put_derived"] += 1
        self.calls["put_derived bytes"] += len(value or b"")
        self.store.put_derived(key, value)


def told(store: Any, record: Consumed, policy: Policy | None = None) -> Decided:
    """What becomes of a record."""
    return decide(record, policy or Policy(), map_webhook, store).verdict


def kinds(verdict: Decided) -> list[str]:
    """Kinds of the operations that are sent."""
    return [operation.kind for operation in verdict.operations] if isinstance(verdict, Operations) else [str(verdict)]


def remembered(store: MemoryStore) -> list[str]:
    """Kinds of the facts in the order in which they were written."""
    return [facts.split(key)[1] for key, _ in store.changelog]


def test_a_payment_is_one_record() -> None:
    """Its fact, with what it confirms of the customer; at first the customer's identity too. Small ones."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded"))
    assert remembered(store) == ["payment", "identity"]
    told(store, webhook("payment.succeeded", "msg_2", at_s=NOW_S + 9, payment_id="pay_2"))
    assert remembered(store)[2:] == ["payment"]
    assert max(len(value or b"") for _, value in store.changelog) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {"customer": {"customer_id": CUSTOMER.decode(), "email": "other@example.com"}},
        {"billing": {"country": "KR"}},
    ],
)
def test_a_payment_that_tells_of_the_customer_is_two(changes: dict[str, Any]) -> None:
    """What is new of the contact is a record of its own, and so is what was not known at all."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded"))
    told(store, webhook("payment.succeeded", "msg_2", at_s=NOW_S + 9, payment_id="pay_2", **changes))
    assert remembered(store)[2:] == ["payment", "identity"]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("refund.succeeded", ["refund", "identity"]),
        ("payment.failed", ["unpaid", "event", "identity"]),
        ("subscription.active", ["subscription", "activation", "event", "event", "identity"]),
        ("subscription.renewed", ["subscription", "identity"]),
        ("subscription.updated", ["subscription", "cancellation", "event", "identity"]),
        ("subscription.update_payment_method", ["subscription", "replacement", "event", "identity"]),
        ("dispute.lost", ["dispute", "event", "event", "identity"]),
        ("dunning.started", ["event", "event", "identity"]),
        ("license_key.created", ["event", "identity"]),
        ("credit.deducted", []),
        ("payout.created", []),
    ],
)
def test_what_each_webhook_leaves(sample: str, expected: list[str]) -> None:
    """One record a fact; payments and refunds stand for their event too; what is dropped leaves nothing.

    A second event stands for the webhook, where another reading of its body could make another event of it.
    """
    store = MemoryStore()
    told(store, webhook(sample))
    assert remembered(store) == expected


def test_ten_thousand_payments_cost_what_one_costs() -> None:
    """Reads, writes and their sizes do not grow with a customer's past; refunds read their own payment's refunds."""
    store = CountingStore()
    costs = []
    for number in range(10_000):
        record = webhook(
            "payment.succeeded--subscription-first-charge",
            f"msg_{number}",
            at_s=NOW_S + number,
            payment_id=f"pay_{number:06d}",
        )
        before = store.calls.copy()
        told(store, record)
        costs.append(store.calls - before)
    late = costs[-1]
    assert late["get"] + late["derived"] + late["scan"] + late["scanned"] <= 4
    assert (late["put"], late["put_derived"]) == (1, 1)
    assert late["put bytes"] < costs[10]["put bytes"] + 20
    assert late["put_derived bytes"] < costs[10]["put_derived bytes"] + 20
    before = store.calls.copy()
    told(store, webhook("refund.succeeded", "msg_ref", at_s=NOW_S + 20_000, payment_id="pay_000007", amount=100))
    refund = store.calls - before
    assert refund["scanned"] <= 1
    assert refund["put"] == 2
    before = store.calls.copy()
    told(store, webhook("payment.succeeded", "msg_last", at_s=NOW_S + 30_000, payment_id="pay_last"))
    assert (store.calls - before)["scanned"] == 0


def test_a_dead_letter_leaves_nothing() -> None:
    """Its replay is told as if it had never come."""
    store = MemoryStore()
    names = Policy(person_id_chain=("metadata.user",))
    nobody = webhook("payment.succeeded", customer={"customer_id": "c" * 200, "email": "a@example.com"})
    assert isinstance(told(store, nobody, names), DeadLettered)
    assert store.changelog == []
    found = webhook("payment.succeeded", customer={"customer_id": "c" * 200, "metadata": {"user": "u_1"}})
    assert kinds(told(store, found, names)) == ["identify", "event"]


def test_a_repeat_is_not_sent_again() -> None:
    """The same webhook, another webhook of the same fact, a replay of months later: each is told once, and counted."""
    store = MemoryStore()
    assert kinds(told(store, webhook("payment.succeeded"))) == ["identify", "event"]
    for again in (
        webhook("payment.succeeded"),
        webhook("payment.succeeded", "msg_2", at_s=NOW_S + 5),
        webhook("payment.succeeded", at_s=NOW_S + 170 * 86_400),
    ):
        verdict = told(store, again)
        assert isinstance(verdict, Operations)
        assert "event" not in kinds(verdict)
        assert "suppressed-event" in verdict.notes
    assert "event" in kinds(told(store, webhook("payment.succeeded", "msg_3", payment_id="pay_2")))


def test_events_are_forgotten_as_new_ones_come() -> None:
    """After 180 days the oldest goes when another comes: a customer's events do not pile up."""
    store = MemoryStore()
    events = facts.prefix(CUSTOMER, "event")
    day = 86_400
    for number in range(5):
        told(store, webhook("payment.failed", f"msg_{number}", at_s=NOW_S + number * day))
    assert len(list(store.scan(events))) == 5
    for number in range(4):
        told(store, webhook("payment.failed", f"msg_late_{number}", at_s=NOW_S + EVENT_KEPT_S + (3 + number) * day))
    kept = [key for key, _ in store.scan(events)]
    assert len(kept) == 5
    assert "event" in kinds(told(store, webhook("payment.failed", "msg_0", at_s=NOW_S)))


def test_a_young_event_with_an_old_id_blocks_nothing() -> None:
    """What goes is the event that is out for longest, wherever a late one stands in the order of ids."""
    store = MemoryStore()
    events = facts.prefix(CUSTOMER, "event")
    day, late = 86_400, NOW_S + EVENT_KEPT_S
    for number in range(5):
        told(store, webhook("payment.failed", f"msg_{number}", at_s=NOW_S + number * day))
    replayed = webhook("payment.failed", "msg_replayed", at_s=NOW_S - 9 * day)
    delivered = (("webhook-id", b"msg_replayed"), ("webhook-timestamp", b"%d" % (late - day)))
    told(store, replace(replayed, headers=delivered))
    assert len(list(store.scan(events))) == 6
    for number in range(3):
        told(store, webhook("payment.failed", f"msg_late_{number}", at_s=late + (4 + number) * day))
        assert len(list(store.scan(events))) == 6
    assert "event" not in kinds(told(store, replace(replayed, headers=delivered)))


def test_a_repeat_in_one_second_writes_nothing() -> None:
    """A redelivery of what is known is no record of the changelog."""
    store = MemoryStore()
    for sample in ("payment.succeeded", "subscription.active", "refund.succeeded", "payment.failed"):
        told(store, webhook(sample, f"msg_{sample}"))
        before = len(store.changelog)
        told(store, webhook(sample, f"msg_{sample}"))
        assert len(store.changelog) == before


def test_the_time_of_a_confirmation_is_written() -> None:
    """A later delivery of the same contact is one record: it must win over what was read between them."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded"))
    before = len(store.changelog)
    told(store, webhook("payment.succeeded", at_s=NOW_S + 60))
    assert remembered(store)[before:] == ["identity"]


@pytest.mark.parametrize("sample", ["payment.succeeded", "subscription.active", "refund.succeeded", "dunning.started"])
def test_test_mode_has_no_state(sample: str) -> None:
    """Test money is in no total, and reads none."""
    store = CountingStore()
    told(store, webhook(sample, mode="test"), Policy(forward_test_mode=True))
    assert store.calls == Counter()


@pytest.mark.parametrize(
    "customer",
    [None, {}, {"customer_id": ""}, {"customer_id": "a\0b"}, {"customer_id": "c" * 256}, {"email": "a@example.com"}],
)
@pytest.mark.parametrize("chain", ["customer_id", "email"])
def test_who_is_not_named_is_not_guessed(customer: dict[str, str] | None, chain: str) -> None:
    """A body without a usable customer id could only use somebody else's state: a dead letter, nothing remembered."""
    store = MemoryStore()
    verdict = told(store, webhook("payment.succeeded", customer=customer), Policy(person_id_chain=(chain,)))
    assert isinstance(verdict, DeadLettered)
    assert verdict.class_ == "unmappable"
    assert store.changelog == []


def test_a_payout_names_nobody_and_needs_nobody() -> None:
    """What is dropped anyway does not become a dead letter for want of a customer."""
    assert told(MemoryStore(), webhook("payout.created")) == told(None, webhook("payout.created"))
    assert isinstance(told(MemoryStore(), webhook("payout.created")), Dropped)


def test_two_customers_are_strangers() -> None:
    """Also where one's id begins with the other's."""
    store = MemoryStore()
    for customer_id in ("cus_1", "cus_11"):
        record = webhook(
            "payment.succeeded", f"msg_{customer_id}", customer={"customer_id": customer_id}, payment_id=customer_id
        )
        verdict = told(store, record)
        assert isinstance(verdict, Operations)
        assert orjson.loads(verdict.operations[0].body)["attributes"]["payment_count"] == 1


def test_a_changed_address_is_another_person_with_a_barrier() -> None:
    """Under the policy `email` its first identify must be accepted before its events."""
    store, policy = MemoryStore(), Policy(person_id_chain=("email",))
    sent = []
    for number, address in enumerate(("old@example.com", "old@example.com", "New@example.com", "new@example.com")):
        customer = {"customer_id": "cus_1", "email": address}
        record = webhook("payment.failed", f"msg_{number}", at_s=NOW_S + number, customer=customer)
        verdict = told(store, record, policy)
        assert isinstance(verdict, Operations)
        sent.append((verdict.person_key, [(operation.kind, operation.barrier) for operation in verdict.operations]))
    assert sent == [
        (b"old@example.com", [("identify", True), ("event", False)]),
        (b"old@example.com", [("event", False)]),
        (b"new@example.com", [("identify", True), ("event", False)]),
        (b"new@example.com", [("identify", False), ("event", False)]),
    ]


def test_who_a_customer_became_stays() -> None:
    """A body that lacks the key of an earlier step does not make a second person."""
    store, policy = MemoryStore(), Policy(person_id_chain=("metadata.user", "customer_id"))
    for number, metadata in enumerate(({"user": "u_1"}, {}, {"user": "u_2"})):
        customer = {"customer_id": "cus_1", "email": "a@example.com", "metadata": metadata}
        verdict = told(store, webhook("payment.failed", f"msg_{number}", customer=customer), policy)
        assert isinstance(verdict, Operations)
        assert verdict.person_key == b"u_1"


def test_an_older_delivery_does_not_take_the_address_back() -> None:
    """A delivery that was made earlier and comes later tells an event, and leaves the profile as it is."""
    store = MemoryStore()
    new, old = ({"customer_id": "cus_1", "email": address} for address in ("new@example.com", "old@example.com"))
    told(store, webhook("payment.failed", "msg_2", at_s=NOW_S + 100, customer=new))
    late = told(store, webhook("payment.failed", "msg_1", at_s=NOW_S, customer=old))
    assert isinstance(late, Operations)
    assert kinds(late) == ["event"]
    assert "unchanged-identify" in late.notes


@pytest.mark.parametrize(
    ("refund", "noted"),
    [
        ({"amount": 100, "currency": "USD", "is_partial": True}, False),
        ({"amount": None, "currency": None, "is_partial": False}, False),
        ({"amount": None, "currency": None, "is_partial": True}, True),
        ({"amount": None, "currency": None, "is_partial": None}, True),
        ({"amount": "1.00", "currency": "USD", "is_partial": False}, False),
        ({"amount": 100, "currency": "EUR", "is_partial": False}, False),
        ({"amount": 100, "currency": "EUR", "is_partial": True}, True),
        ({"amount": 100, "currency": None, "is_partial": True}, True),
        ({"amount": -100, "currency": "USD", "is_partial": True}, True),
    ],
)
def test_a_refund_of_unknown_worth_is_warned_of(refund: dict[str, Any], noted: bool) -> None:
    """It is in no total, and the operator can see that, once, whichever of the two comes first."""
    store = MemoryStore()
    told(store, webhook("payment.succeeded", total_amount=1000))
    verdict = told(store, webhook("refund.succeeded", "msg_2", **refund))
    assert isinstance(verdict, Operations)
    assert ("uncounted-refund" in verdict.notes) is noted
    assert ("identify" not in kinds(verdict)) is noted
    disordered = MemoryStore()
    verdicts = [
        told(disordered, webhook("refund.succeeded", "msg_2", **refund)),
        told(disordered, webhook("payment.succeeded", total_amount=1000)),
    ]
    assert sum("uncounted-refund" in getattr(verdict, "notes", ()) for verdict in verdicts) == noted


def test_a_retry_that_shows_a_later_flag_takes_nothing_back() -> None:
    """Each change of the flag has a webhook of its own; one that was read anew says the same twice."""
    store = MemoryStore()

    def flagged(webhook_id: str, at_s: int, later_s: int, *, scheduled: bool) -> list[str | None]:
        record = webhook("subscription.updated", webhook_id, at_s=at_s, cancel_at_next_billing_date=scheduled)
        headers = tuple((name, b"%d" % (at_s + later_s) if name == "webhook-timestamp" else value)
                        for name, value in record.headers)  # fmt: skip
        verdict = told(store, Consumed(record.value, headers))
        return [o.name for o in verdict.operations if o.kind == "event"] if isinstance(verdict, Operations) else []

    assert flagged("msg_1", NOW_S, 1, scheduled=True) == ["subscription_cancellation_scheduled"]
    assert flagged("msg_2", NOW_S + 60, 1, scheduled=True) == []
    assert flagged("msg_2", NOW_S + 60, 9_000, scheduled=False) == []
    assert flagged("msg_3", NOW_S + 600, 9_000, scheduled=False) == ["subscription_cancellation_withdrawn"]
    assert flagged("msg_4", NOW_S + 700, 9_000, scheduled=False) == []
    assert flagged("msg_4", NOW_S + 700, 20_000, scheduled=True) == []
    assert flagged("msg_5", NOW_S + 800, 20_000, scheduled=True) == ["subscription_cancellation_scheduled"]
