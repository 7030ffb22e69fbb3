"""What changes when the customer's state is known: the same webhooks, decided by what was there before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from pipeline.dodo import samples
from pipeline.dodo.envelope import parse
from pipeline.transform.mapping.webhook import decide
from pipeline.transform.money import ISO_EXPONENTS
from pipeline.transform.policy import Policy
from pipeline.transform.profile import (
    Activation,
    Active,
    Addressed,
    Card,
    CardTeller,
    Charge,
    Contact,
    Course,
    Payment,
    Person,
    Profile,
    Recovery,
    Refunded,
    Spending,
    Subscription,
    Unpaid,
    best,
)
from pipeline.transform.timestamps import MIN_PLAUSIBLE_MS, to_ms
from pipeline.transform.verdicts import Delivery, Operations
from pipeline.transform.webhook import Webhook

SUB = "sub_0NExampleSubscript001"
BEGAN = to_ms("2026-01-01T00:00:00Z") or 0
ACTIVATED = to_ms("2026-10-14T08:21:58.638Z") or 0
FIRST = Activation("msg_first", ACTIVATED - 5000)
BACK = Recovery(ACTIVATED - 5000, ACTIVATED, ACTIVATED)
BEFORE = Subscription(SUB, "active", product_id="pdt_0NExampleProduct00001", minor=2900, currency="USD")


@dataclass(frozen=True)
class State:
    """A state held in plain values."""

    person: Person | None = None
    identity: bytes | None = b"earlier"
    identified: str | None = None
    addressed: Addressed | None = None
    contact: Contact = field(default_factory=Contact)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    began_at_ms: int = BEGAN
    delivered_at_s: int = 0
    spending: Spending = field(default_factory=Spending)
    has_lost_dispute: bool = False
    card: Card | None = None
    subscriptions: Sequence[Subscription] = ()
    earlier: Subscription | None = None
    shown_by: str | None = None
    activation: Activation | None = None
    payments: Mapping[str, Payment] = field(default_factory=dict)
    period_payment: Payment | None = None
    refund: Refunded | None = None
    refunded_in_another_currency: bool = False
    first_payment: str | None = None
    unpaid: Sequence[Unpaid] = ()
    sent: frozenset[str] = frozenset()
    lapsed: bool = False
    over: Sequence[Recovery] = ()
    pause_told: bool = False
    began: Course = field(default_factory=Course)
    card_teller: CardTeller | None = None
    stands_for_event: bool = False

    @property
    def speaking(self) -> Subscription | None:
        """The best of them."""
        return best(self.subscriptions)

    @property
    def active(self) -> Active:
        """Of them."""
        active = [one for one in self.subscriptions if one.status == "active"]
        return Active(len(active), sorted({one.product_id for one in active if one.product_id is not None}))

    def subscription(self, subscription_id: str) -> Subscription | None:
        """One of them."""
        return next((one for one in self.subscriptions if one.subscription_id == subscription_id), None)

    @property
    def subscribed_since_ms(self) -> int | None:
        """The earliest creation."""
        return min((ms for one in self.subscriptions if (ms := one.created_at_ms) >= MIN_PLAUSIBLE_MS), default=None)

    def lapsed_before(self, subscription_id: str, at_ms: int) -> bool:
        """Whenever."""
        assert at_ms
        return self.lapsed and subscription_id == SUB

    def recoveries(self, subscription_id: str) -> Sequence[Recovery]:
        """Of the one subscription."""
        return self.over if subscription_id == SUB else ()

    def pause_answered(self, subscription_id: str, at_ms: int) -> bool:
        """Likewise."""
        assert at_ms
        return self.pause_told and subscription_id == SUB

    def course(self, subscription_id: str) -> Course:
        """Likewise."""
        return self.began if subscription_id == SUB else Course()

    def card_told(self, subscription_id: str, method_id: str | None, at_ms: int, by: CardTeller) -> bool:
        """Whoever told of the card, told of this one."""
        assert at_ms
        assert method_id
        return subscription_id == SUB and by == self.card_teller

    def before(self, subscription_id: str) -> Subscription | None:
        """Only the one subscription is known."""
        return self.earlier if subscription_id == SUB else None

    def cancellation_shown_by(self, subscription_id: str) -> str | None:
        """Likewise."""
        return self.shown_by if subscription_id == SUB else None

    def first_activation(self, subscription_id: str) -> Activation | None:
        """Likewise."""
        return self.activation if subscription_id == SUB else None

    def payment(self, payment_id: str) -> Payment | None:
        """By id."""
        return self.payments.get(payment_id)

    def payment_of_period(self, subscription_id: str, starts_at_ms: int, tolerance_ms: int) -> Payment | None:
        """The one payment, whatever the period."""
        assert starts_at_ms
        assert tolerance_ms
        return self.period_payment if subscription_id == SUB else None

    def is_first_payment(self, payment_id: str) -> bool:
        """The one that the test says."""
        return payment_id == self.first_payment

    def refunded_otherwise(self, payment_id: str) -> bool:
        """The one that the test says."""
        return self.refunded_in_another_currency and payment_id == "pay_0NExamplePayment00001"

    def refunded(self, payment_id: str) -> Refunded | None:
        """The one refund."""
        return self.refund if payment_id == "pay_0NExamplePayment00001" else None

    def emitted(self, event_id: str, *, beside: bool = False) -> bool:
        """By its id."""
        assert beside in {True, False}
        return event_id in self.sent


def decided(
    name: str, state: Profile, *, webhook_id: str = "msg_now", policy: Policy | None = None, **data: Any
) -> Operations:
    """The operations of a sample, some fields changed, for a customer in `state`."""
    body = orjson.loads(samples.load(name))
    body["data"].update(data)
    delivery = Delivery(webhook_id, attempt_at_s=1_800_000_000)
    verdict = decide(Webhook(parse(orjson.dumps(body)), delivery), policy or Policy(), state)
    assert isinstance(verdict, Operations)
    assert "state-decides" not in verdict.notes
    return verdict


def event_of(operations: Operations) -> str | None:
    """The event's name, None when the identify goes alone."""
    return next((o.name for o in operations.operations if o.kind == "event"), None)


def attributes_of(operations: Operations, kind: str = "event") -> dict[str, Any]:
    """The attributes of the event or the identify."""
    (body,) = (o.body for o in operations.operations if o.kind == kind)
    attributes: dict[str, Any] = orjson.loads(body)["attributes"]
    return attributes


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State(), "subscription_started"),
        (State(activation=Activation("msg_now", ACTIVATED)), "subscription_started"),
        (State(activation=Activation("msg_later", ACTIVATED + 5000)), "subscription_started"),
        (State(activation=Activation("msg_first", ACTIVATED - 5000)), None),
        (State(activation=FIRST, lapsed=True, over=[BACK]), "subscription_reactivated"),
        (State(activation=FIRST, lapsed=True), None),
        (State(lapsed=True, over=[BACK]), "subscription_reactivated"),
        (State(activation=Activation("msg_first", ACTIVATED - 5000), earlier=BEFORE), None),
    ],
)
def test_active_is_started_recovered_or_nothing_new(state: State, event: str | None) -> None:
    """The first activation starts, recovery answers a lapse once, a plan change that fires it again says nothing."""
    assert event_of(decided("subscription.active", state)) == event


def told_beside(operations: Operations) -> dict[str, Any]:
    """The whole of the last event."""
    body: dict[str, Any] = orjson.loads(operations.operations[-1].body)
    return body


def test_a_lapse_that_comes_last_is_answered_by_itself() -> None:
    """The recovery that was known before it, with its time, and nothing that the lapse's body tells of then."""
    after = Subscription(SUB, "active", next_billing="2026-12-14T00:00:00Z")
    state = State(over=[BACK], lapsed=True, earlier=after, subscriptions=[after])
    data: dict[str, Any] = {"status": "past_due", "past_due_ends_at": "2026-11-17T00:00:00Z"}
    data["next_billing_date"] = "2026-11-14T00:00:00Z"
    operations = decided("subscription.past_due", state, **data)
    assert [o.name for o in operations.operations if o.kind == "event"] == [
        "subscription_past_due",
        "subscription_reactivated",
    ]
    told = told_beside(operations)
    assert told["timestamp"] == ACTIVATED // 1000
    attributes = told["attributes"]
    assert (attributes["subscription_status"], attributes["next_billing"]) == ("active", "2026-12-14T00:00:00Z")
    assert not {"superseded", "past_due_ends_at"} & attributes.keys()
    assert operations.recoveries == ((SUB, BACK),)
    by_the_activation = told_beside(decided("subscription.active", state))
    assert by_the_activation["id"] == told["id"]


def test_a_recovery_after_which_it_lapsed_again_is_superseded() -> None:
    """It is told, once, and no campaign needs to believe it."""
    now = Subscription(SUB, "on_hold")
    told = told_beside(decided("subscription.active", State(over=[BACK], activation=FIRST, subscriptions=[now])))
    assert (told["attributes"]["subscription_status"], told["attributes"]["superseded"]) == ("on_hold", True)


@pytest.mark.parametrize("name", ["subscription.renewed", "subscription.updated", "subscription.update_payment_method"])
def test_whatever_shows_it_over_answers_a_lapse(name: str) -> None:
    """Beside its own event or without one, and not again once it is out."""
    data: dict[str, Any] = {"cancel_at_next_billing_date": False}
    told = told_beside(decided(name, State(over=[BACK], activation=FIRST), **data))
    assert told["name"] == "subscription_reactivated"
    again = decided(name, State(over=[BACK], activation=FIRST, sent=frozenset({told["id"]})), **data)
    assert "subscription_reactivated" not in [o.name for o in again.operations]


PAUSE = Recovery(ACTIVATED - 3_600_000, ACTIVATED, ACTIVATED, of_pause=True)


@pytest.mark.parametrize("name", ["subscription.active", "subscription.updated", "subscription.paused"])
def test_whatever_shows_it_over_answers_a_pause_under_its_own_name(name: str) -> None:
    """With the pause's id, so that it is one event by whichever of them, and the pause's own moment is no attribute."""
    data: dict[str, Any] = {"cancel_at_next_billing_date": False, "paused_at": "2026-11-14T07:00:00Z"}
    after = Subscription(SUB, "active")
    told = told_beside(decided(name, State(over=[PAUSE], activation=FIRST, subscriptions=[after]), **data))
    assert (told["name"], told["timestamp"]) == ("subscription_unpaused", ACTIVATED // 1000)
    by_the_activation = told_beside(decided("subscription.active", State(over=[PAUSE], activation=FIRST)))
    assert told["id"] == by_the_activation["id"]
    assert name != "subscription.paused" or not {"paused_at", "paused_at_unix"} & told["attributes"].keys()


def test_a_pause_that_was_answered_has_no_second_answer() -> None:
    """Not by the webhook of its end either, which says so; else that webhook tells it."""
    assert event_of(decided("subscription.unpaused", State())) == "subscription_unpaused"
    told = decided("subscription.unpaused", State(pause_told=True))
    assert event_of(told) is None
    assert "suppressed-event" in told.notes


DELIVERED_MS = 1_800_000_000_000
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("charge", "seen_ms", "told"),
    [
        (Charge(DELIVERED_MS - 13 * DAY_MS, "pay_1", "renewal"), 0, True),
        (Charge(DELIVERED_MS - 15 * DAY_MS, "pay_1", "renewal"), 0, False),
        (Charge(DELIVERED_MS - 13 * DAY_MS, "pay_1", "new"), 0, False),
        (Charge(DELIVERED_MS - 14 * DAY_MS, "pay_1", "plan_change"), DELIVERED_MS - 14 * DAY_MS, True),
        (Charge(DELIVERED_MS - 14 * DAY_MS, "pay_1", "plan_change"), DELIVERED_MS - 15 * DAY_MS, False),
    ],
)
def test_a_conversion_is_told_by_what_makes_it_known(charge: Charge, seen_ms: int, told: bool) -> None:
    """Not one of former weeks, not what opened the trial, and a plan change only once the plan is known."""
    began = Course(charge.at_ms - 14 * DAY_MS, 14, [charge], seen_ms=seen_ms)
    data: dict[str, Any] = {"cancel_at_next_billing_date": False}
    policy = Policy(emit_trial_events=True)
    operations = decided("subscription.updated", State(began=began), policy=policy, **data)
    events = [o for o in operations.operations if o.kind == "event"]
    assert [o.name for o in events] == (["trial_converted"] if told else [])
    out = frozenset(o.op_id for o in events)
    again = decided("subscription.updated", State(began=began, sent=out), policy=policy, **data)
    assert all(o.kind != "event" for o in again.operations)


def test_a_subscription_older_than_the_state_starts_by_its_dates() -> None:
    """An activation that the state could not see is not taken for the first one."""
    young = State(began_at_ms=ACTIVATED)
    assert event_of(decided("subscription.active", young)) == "subscription_started"
    later: dict[str, Any] = {"previous_billing_date": "2026-11-14T08:21:58Z"}
    assert event_of(decided("subscription.active", young, **later)) == "subscription_started"  # a late retry's body
    later["created_at"] = "2026-09-14T08:21:58Z"
    assert event_of(decided("subscription.active", young, **later)) is None
    assert event_of(decided("subscription.active", State(), **later)) == "subscription_started"


@pytest.mark.parametrize(
    ("state", "data", "event"),
    [
        (State(period_payment=Payment(2900, "USD", "new")), {}, None),
        (State(payments={"pay_0NExamplePayment00001": Payment(2900, "USD", "new")}), {}, None),
        (State(activation=Activation("msg_first", ACTIVATED)), {}, None),
        (State(), {}, None),
        (State(), {"previous_billing_date": "2026-11-14T08:21:58Z"}, None),
        (State(), {"created_at": "2026-09-14T08:21:58Z"}, "subscription_renewed"),
        (State(activation=FIRST), {"created_at": "2026-09-14T08:21:58Z"}, "subscription_renewed"),
        (State(period_payment=Payment(2900, "USD", "renewal")), {}, "subscription_renewed"),
        (State(activation=Activation("msg_first", ACTIVATED)), {"on_demand": True}, "subscription_renewed"),
        (State(period_payment=Payment(2900, "USD", "new")), {"on_demand": True, "payment_id": None}, None),
        (State(period_payment=Payment(2900, "USD", "new")), {"on_demand": True}, "subscription_renewed"),
    ],
)
def test_the_first_periods_charge_is_no_renewal(state: State, data: dict[str, Any], event: str | None) -> None:
    """Its payment is `new`, or the dates say so, whatever else is known; on-demand dates say nothing."""
    assert event_of(decided("subscription.renewed", state, **data)) == event


def test_a_renewal_tells_what_was_charged() -> None:
    """The plan's price is not the charge: discounts, proration and add-ons lie between."""
    state = State(payments={"pay_0NExamplePayment00001": Payment(3161, "USD", "renewal")})
    sent = attributes_of(decided("subscription.renewed", state))
    assert (sent["payment_amount"], sent["payment_amount_value"], sent["payment_amount_minor"]) == (
        "31.61",
        31.61,
        3161,
    )
    assert sent["amount"] == "29.00"


@pytest.mark.parametrize("name", ["subscription.renewed", "dunning.recovered"])
def test_a_charge_in_another_currency_than_the_plan_s_says_which(name: str) -> None:
    """Else "4500 USD" would be printed of 4500 yen: the event's `currency` is the plan's."""
    plan = Subscription(SUB, "active", minor=2900, currency="USD")
    state = State(payments={"pay_0NExamplePayment00001": Payment(4500, "JPY", "renewal")}, subscriptions=[plan])
    data: dict[str, Any] = {"payment_id": "pay_0NExamplePayment00001"}
    sent = attributes_of(decided(name, state, **data))
    assert (sent["payment_amount"], sent["payment_currency"]) == ("4500", "JPY")
    assert (sent["amount"], sent["currency"]) == ("29.00", "USD")


@pytest.mark.parametrize(
    ("payment", "data", "amount"),
    [
        (Payment(3161, "USD", "renewal"), {}, "31.61"),
        (Payment(3161, "USD", "plan_change"), {}, None),
        (Payment(3161, "USD", "renewal"), {"on_demand": True}, None),
        (None, {}, None),
    ],
)
def test_a_renewal_that_names_no_payment_tells_its_period_s(
    payment: Payment | None, data: dict[str, Any], amount: str | None
) -> None:
    """If that is a renewal's, and the only one that the period can have."""
    state = State(period_payment=payment)
    sent = attributes_of(
        decided("subscription.renewed", state, payment_id=None, created_at="2026-09-14T08:21:58Z", **data)
    )
    assert sent.get("payment_amount") == amount
    assert "payment_id" not in sent


@pytest.mark.parametrize(
    ("shown_by", "data", "event"),
    [
        (None, {}, "subscription_cancellation_scheduled"),
        ("msg_now", {}, "subscription_cancellation_scheduled"),
        ("msg_earlier", {}, None),
        ("msg_earlier", {"cancel_at_next_billing_date": False}, "subscription_cancellation_withdrawn"),
        ("msg_earlier", {"cancel_at_next_billing_date": False, "status": "cancelled"}, None),
        (None, {"cancel_at_next_billing_date": False}, None),
    ],
)
def test_a_cancellation_is_scheduled_once_and_withdrawn_once(
    shown_by: str | None, data: dict[str, Any], event: str | None
) -> None:
    """Only the webhook that first shows the flag tells it; only a flag that was there can be withdrawn."""
    assert event_of(decided("subscription.updated", State(shown_by=shown_by), **data)) == event


def test_with_the_state_the_webhook_names_the_schedule() -> None:
    """Withdrawn and scheduled again within one period are two facts."""
    first = decided("subscription.updated", State(), webhook_id="msg_1")
    again = decided("subscription.updated", State(), webhook_id="msg_2")
    assert first.operations[-1].op_id != again.operations[-1].op_id


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        (
            replace(BEFORE, interval="Month", interval_count=1),
            {
                "previous_product_id": "pdt_0NExampleProduct00001",
                "previous_amount": "29.00",
                "previous_amount_minor": 2900,
                "direction": "upgrade",
            },
        ),
        (replace(BEFORE, interval="Month", interval_count=1, minor=9900), {"direction": "downgrade"}),
        (replace(BEFORE, interval="Month", interval_count=1, minor=7900), {"direction": "same_price"}),
        (replace(BEFORE, interval="Year", interval_count=1), {"previous_amount": "29.00", "direction": None}),
        (
            replace(BEFORE, interval="Month", interval_count=1, currency="EUR"),
            {"previous_product_id": "pdt_0NExampleProduct00001", "previous_amount": None, "direction": None},
        ),
        (None, {"previous_product_id": None, "direction": None}),
    ],
)
def test_a_plan_change_has_a_direction(earlier: Subscription | None, expected: dict[str, Any]) -> None:
    """Told only where two prices can be compared: the same currency and the same interval."""
    sent = attributes_of(decided("subscription.plan_changed", State(earlier=earlier)))
    assert {name: sent.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "event", "other"),
    [
        ("payment.succeeded--update-payment-method", "payment_method_updated", "subscription"),
        ("subscription.update_payment_method", "subscription_payment_method_updated", "payment"),
    ],
)
def test_a_card_update_is_told_once(name: str, event: str, other: CardTeller) -> None:
    """Each of its two webhooks is held back when the other one has told of the same card."""
    data: dict[str, Any] = {} if name.startswith("payment") else {"payment_method_id": "pm_ExamplePayMethod00001"}
    held = decided(name, State(card_teller=other), **data)
    assert event_of(held) is None
    assert "suppressed-event" in held.notes
    assert event_of(decided(name, State(), **data)) == event


def test_a_refund_tells_how_much_is_back() -> None:
    """Sum and completeness over all refunds of the payment."""
    sent = attributes_of(decided("refund.succeeded--partial", State(refund=Refunded(2000, "USD", fully=False))))
    assert (sent["refunded_total"], sent["fully_refunded"]) == ("20.00", False)
    assert "refunded_total" not in attributes_of(decided("refund.succeeded--partial", State()))


def test_identify_tells_the_sums_and_the_best_subscription() -> None:
    """Money per currency in its decimals, dates in two ways, the subscription that speaks for the person."""
    state = State(
        spending=Spending(
            minor={"USD": 9330, "JPY": 4980},
            currency="USD",
            payment_count=3,
            last_payment_date="2026-10-14T08:21:45.182629Z",
            payment_method="card",
            customer_since="2026-01-02T00:00:00Z",
        ),
        has_lost_dispute=True,
        subscriptions=(
            replace(BEFORE, subscription_id="sub_ended", status="cancelled", created_at_ms=3),
            replace(BEFORE, subscription_id="sub_active", next_billing="2026-11-14T08:21:58Z", created_at_ms=1),
            replace(BEFORE, subscription_id="sub_hold", status="on_hold", product_id="pdt_2", created_at_ms=2),
        ),
    )
    assert attributes_of(decided("payment.succeeded", state), "identify") == {
        "email": "jiwoo.han@example.com",
        "name": "Han Ji-woo",
        "phone": "+15555550142",
        "country": "US",
        "total_spent": "93.30",
        "total_spent_value": 93.3,
        "total_spent_minor": 9330,
        "total_spent_currency": "USD",
        "total_spent_usd": "93.30",
        "total_spent_usd_value": 93.3,
        "total_spent_usd_minor": 9330,
        "total_spent_jpy": "4980",
        "total_spent_jpy_value": 4980,
        "total_spent_jpy_minor": 4980,
        "payment_count": 3,
        "last_payment_date": "2026-10-14T08:21:45.182629Z",
        "last_payment_date_unix": 1791966105,
        "customer_since": "2026-01-02T00:00:00Z",
        "customer_since_unix": 1767312000,
        "payment_method": "card",
        "has_lost_dispute": True,
        "subscription_id": "sub_active",
        "subscription_status": "active",
        "subscription_product_id": "pdt_0NExampleProduct00001",
        "subscription_product_name": None,
        "subscription_amount": "29.00",
        "subscription_amount_value": 29.0,
        "subscription_amount_minor": 2900,
        "subscription_currency": "USD",
        "subscription_interval": None,
        "subscription_interval_count": None,
        "is_trial": False,
        "trial_ends_at": None,
        "trial_ends_at_unix": None,
        "next_billing": "2026-11-14T08:21:58Z",
        "next_billing_unix": 1794644518,
        "cancelled_at": None,
        "cancelled_at_unix": None,
        "cancel_at_next_billing": False,
        "active_subscriptions": 1,
        "active_product_ids": ["pdt_0NExampleProduct00001"],
    }


def test_next_billing_is_nulled_when_nothing_bills_again() -> None:
    """An ex-customer must not hear of a renewal."""
    ended = State(subscriptions=(replace(BEFORE, status="expired", next_billing="2026-11-14T08:21:58Z"),))
    sent = attributes_of(decided("refund.succeeded", ended), "identify")
    assert sent["next_billing"] is None
    assert sent["next_billing_unix"] is None
    assert sent["active_subscriptions"] == 0


@pytest.mark.parametrize(("read_s", "in_trial"), [(1_795_000_000, True), (1_795_300_000, False)])
def test_without_the_state_a_trial_ends_with_its_time(read_s: int, in_trial: bool) -> None:
    """A charge that fails at its end moves no date: whoever is on hold since then is in no trial."""
    body = orjson.loads(samples.load("subscription.on_hold"))
    body["data"] |= {
        "created_at": "2026-11-07T00:00:00Z",
        "previous_billing_date": "2026-11-07T00:00:00Z",
        "next_billing_date": "2026-11-21T00:00:00Z",
        "trial_period_days": 14,
    }
    delivery = Delivery("msg_now", attempt_at_s=read_s)
    verdict = decide(Webhook(parse(orjson.dumps(body)), delivery), Policy())
    assert isinstance(verdict, Operations)
    sent = attributes_of(verdict, "identify")
    assert (sent["is_trial"], sent["trial_ends_at_unix"]) == (in_trial, 1_795_219_200 if in_trial else None)


def test_a_body_with_the_id_alone_is_completed_by_the_state() -> None:
    """E-mail and name on the event, and an identify although the body has no customer."""
    state = State(contact=Contact("han@example.com", "Han Ji-woo", "+15555550142", "KR"))
    operations = decided("dunning.started", state)
    assert [o.kind for o in operations.operations] == ["identify", "event"]
    assert attributes_of(operations)["email"] == "han@example.com"
    assert attributes_of(operations, "identify") == {
        "email": "han@example.com",
        "name": "Han Ji-woo",
        "phone": "+15555550142",
        "country": "KR",
    }


def test_an_identify_that_would_change_nothing_is_not_sent() -> None:
    """Its digest is the last one's; the event goes alone."""
    first = decided("payment.failed", State())
    again = decided("payment.failed", State(identity=first.identity))
    assert [o.kind for o in again.operations] == ["event"]
    assert again.identity == first.identity
    assert "unchanged-identify" in again.notes
    changed = decided("payment.failed", State(identity=first.identity, contact=Contact(country="KR")), billing=None)
    assert [o.kind for o in changed.operations] == ["identify", "event"]


def test_nothing_new_at_all_is_no_operation() -> None:
    """Neither event nor change: an empty verdict, that the state may still note what it saw."""
    first = decided("subscription.updated", State(shown_by="msg_earlier"))
    again = decided("subscription.updated", State(shown_by="msg_earlier", identity=first.identity))
    assert again.operations == ()


def test_the_first_identify_of_a_person_is_a_barrier() -> None:
    """With the state exactly the first, whatever the webhook."""
    assert [o.barrier for o in decided("refund.succeeded", State(identity=None)).operations] == [True, False]
    assert [o.barrier for o in decided("payment.succeeded", State(identity=b"earlier")).operations] == [False, False]


def test_identify_goes_by_the_latest_delivery_known() -> None:
    """Older than the profile's last edit it would be ignored at Customer.io."""
    ahead = decided("payment.succeeded", State(delivered_at_s=1_800_000_500))
    assert orjson.loads(ahead.operations[0].body)["timestamp"] == 1_800_000_500
    behind = decided("payment.succeeded", State(delivered_at_s=1_700_000_000))
    assert orjson.loads(behind.operations[0].body)["timestamp"] == 1_800_000_000


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["on_hold", "active"], 1),
        (["past_due", "on_hold"], 0),
        (["paused", "cancelled"], 0),
        (["cancelled", "paused"], 1),
        (["expired", "expired"], 1),
        ([None, "paused"], 1),
    ],
)
def test_the_best_subscription_speaks(statuses: list[str | None], expected: int) -> None:
    """Active before past due, on hold, paused and ended; among equals the newest."""
    subscriptions = [Subscription(f"sub_{index}", status, created_at_ms=index) for index, status in enumerate(statuses)]
    assert best(subscriptions) == subscriptions[expected]


def test_nobody_has_no_best_subscription() -> None:
    """Without subscriptions the slot stays empty."""
    assert best([]) is None


def test_a_person_first_seen_here_gets_a_date() -> None:
    """With the first identify alone, at the earliest moment known; an app may set its own later, and it stays."""
    policy = Policy(set_created_at=True)
    spent = Spending(minor={"USD": 100}, currency="USD", payment_count=1, customer_since_ms=BEGAN)
    first = decided("payment.failed", State(identity=None), policy=policy)
    failed_at = to_ms("2026-10-14T08:21:41.609359Z") or 0
    assert attributes_of(first, "identify")["created_at"] == failed_at // 1000
    earlier = decided("payment.failed", State(identity=None, spending=spent), policy=policy)
    assert attributes_of(earlier, "identify")["created_at"] == BEGAN // 1000
    again = decided("payment.failed", State(identity=first.identity), policy=policy)
    assert [o.kind for o in again.operations] == ["event"], "the date is no news that sends an identify"
    assert "created_at" not in attributes_of(decided("payment.failed", State(), policy=policy), "identify")
    assert "created_at" not in attributes_of(decided("payment.failed", State(identity=None)), "identify")


def test_a_dunning_prints_the_payment_that_failed() -> None:
    """Its amount and link where it failed when the dunning began; one of an earlier period, or paid since, does not."""
    began = to_ms("2026-11-14T08:23:00.000000Z") or 0
    plan = replace(BEFORE, next_billing="2030-01-01T00:00:00Z", status="past_due")
    unpaid = Unpaid(began, "pay_2", 3132, "USD", (), (SUB,), "https://checkout.example.com/2")
    sent = attributes_of(decided("dunning.started", State(subscriptions=(plan,), unpaid=(unpaid,))))
    assert (sent["payment_amount"], sent["payment_link"]) == ("31.32", "https://checkout.example.com/2")
    assert sent["amount"] == "29.00"
    assert not [name for name in sent if name.startswith("next_")], "a billing date that lies ahead is no attempt"
    for state in (
        State(subscriptions=(plan,), unpaid=(unpaid._replace(at_ms=began - 20 * 86_400_000),)),
        State(subscriptions=(plan,), unpaid=(unpaid,), payments={"pay_2": Payment(3132, "USD", "renewal")}),
        State(subscriptions=(plan,), unpaid=(unpaid._replace(subscriptions=("sub_other",)),)),
    ):
        sent = attributes_of(decided("dunning.started", state))
        assert not {"payment_amount", "payment_link"} & sent.keys()


@pytest.mark.parametrize(
    ("paid", "raw", "printed"),
    [
        (Payment(4665, "USD", None), "4665", "46.65"),
        (Payment(4665, "USD", None), 4665, "46.65"),
        (Payment(4665, "USD", None), "46.65", "46.65"),
        (Payment(4665, "USD", None), "4600", None),
        (Payment(4665, "EUR", None), "4665", None),
        (Payment(4665, "JPY", None), "4665", None),
        (None, "4665", None),
    ],
)
def test_a_dispute_is_printed_where_its_unit_is_plain(paid: Payment | None, raw: Any, printed: str | None) -> None:
    """Equal to the known payment's amount, in its currency, and never otherwise."""
    payments = {} if paid is None else {"pay_0NExamplePayment00001": paid}
    sent = attributes_of(decided("dispute.opened", State(payments=payments), amount=raw, currency="USD"))
    assert sent.get("dispute_amount") == printed
    assert sent["dispute_amount_raw"] == str(raw)


def test_a_person_with_very_many_currencies_keeps_what_campaigns_need() -> None:
    """Customer.io takes 300 attributes: sums of single currencies give way, never a subscription's end."""
    codes = sorted(ISO_EXPONENTS)[:150]
    state = State(
        spending=Spending(minor=dict.fromkeys(codes, 100), currency=codes[0], payment_count=150),
        subscriptions=(replace(BEFORE, status="cancelled"),),
    )
    verdict = decided("payment.failed", state)
    told = attributes_of(verdict, "identify")
    assert len(told) == 300
    assert told["next_billing"] is None
    assert told["subscription_status"] == "cancelled"
    assert told["total_spent_minor"] == 100
    assert "attribute-cut" in verdict.notes


@pytest.mark.parametrize("out", [False, True])
def test_what_stands_for_its_event_needs_no_id_for_the_webhook(out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment that the state knows by itself is asked for once, and no id is made but the event's own."""
    made: list[str] = []
    event = decided("payment.succeeded", State()).operations[-1].op_id
    state = State(stands_for_event=True, sent=frozenset({event} if out else ()))

    def make(*_: object) -> str:
        made.append(event)
        return event

    monkeypatch.setattr("pipeline.transform.mapping.events.ulid", make)
    operations = decided("payment.succeeded", state)
    assert made == [event]
    assert operations.spoken is None
    assert [one.kind for one in operations.operations] == (["identify"] if out else ["identify", "event"])
