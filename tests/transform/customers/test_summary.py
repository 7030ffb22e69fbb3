"""The summary of a customer is a function of the facts, however it came about."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.customer_view import CustomerView
from pipeline.transform.customers.merged_facts import summary_of
from pipeline.transform.customers.named import PaymentFact, RefundFact
from pipeline.transform.customers.observations import Observation, Observations
from pipeline.transform.customers.summary import VERSION, Summary, refunded
from pipeline.transform.event_times import EventTimes
from pipeline.transform.profile import Contact
from pipeline.transform.verdicts import MappedOperation, Operations

CUSTOMER = b"cus_1"
PAYMENTS = st.sampled_from(["pay_1", "pay_2", "pay_3", "pay_4"])
SUBSCRIPTIONS = st.sampled_from(["sub_1", "sub_2", "sub_3"])
TIMES = st.sampled_from([f"2026-03-0{day}T00:00:00Z" for day in range(1, 5)])
CURRENCIES = st.sampled_from(["USD", "USD", "JPY", None])
STATUSES = st.sampled_from(
    ["active", "past_due", "on_hold", "paused", "cancelled", "expired", "failed", "pending", "odd"]
)


def telling(kind: facts.Kind, ids: tuple[str, ...], *fact: Any) -> Observation:
    """A fact as it would come out of JSON."""
    return Observation(kind, ids, orjson.loads(orjson.dumps(fact)))


def payment(payment_id: str, minor: int | None, currency: str | None, time: str, **others: Any) -> Observation:
    """A payment that was told."""
    method, card_update, source = (
        others.get("method"),
        others.get("card_update", False),
        others.get("source", "webhook"),
    )
    return telling(
        "payment",
        (payment_id,),
        minor,
        currency,
        time,
        None,
        method,
        card_update,
        source,
        others.get("periods", []),
        None,
    )


def refund(
    payment_id: str, refund_id: str, minor: int | None, currency: str | None, partial: bool | None
) -> Observation:
    """A refund that was told."""
    return telling("refund", (payment_id, refund_id), minor, currency, "2026-03-09T00:00:00Z", partial, "webhook")


def subscription(subscription_id: str, at: tuple[int, int], status: str, created_ms: int) -> Observation:
    """A subscription's state that was told."""
    plan = [*at, f"pdt_{created_ms}", 100, "USD", "Month", 1]
    return telling("subscription", (subscription_id,), *at, status, None, False, created_ms, [plan])


TELLINGS = st.one_of(
    st.builds(
        payment,
        PAYMENTS,
        st.sampled_from([None, 0, 100, 100, 250]),
        CURRENCIES,
        TIMES,
        method=st.sampled_from([None, "card", "wallet"]),
        card_update=st.sampled_from([False, False, True]),
        source=st.sampled_from(["webhook", "api"]),
        periods=st.lists(st.tuples(SUBSCRIPTIONS, st.integers(0, 30)), max_size=2).map(
            lambda found: sorted(map(list, found))
        ),
    ),
    st.builds(
        refund,
        PAYMENTS,
        st.sampled_from(["ref_1", "ref_2"]),
        st.sampled_from([None, 40, 80]),
        CURRENCIES,
        st.sampled_from([True, False, None]),
    ),
    st.builds(
        subscription, SUBSCRIPTIONS, st.tuples(st.integers(0, 3), st.integers(0, 1)), STATUSES, st.integers(0, 2)
    ),
    st.builds(
        lambda number: telling("dispute", (f"dp_{number}",), "2026-03-05T00:00:00Z", "dispute.lost"), st.integers(0, 1)
    ),
    st.builds(lambda number: ("event", number), st.integers(0, 5)),
)


def copied(told: Observation) -> Observation:
    """One of its own: a class in machine code knows no `deepcopy`."""
    return Observation(told.kind, told.ids, deepcopy(told.fact))


def take(store: MemoryStore, told: Any, at_s: int = 1_790_000_000) -> None:
    """One webhook that tells one fact, or sends one event."""
    tellings = [copied(told)] if isinstance(told, Observation) else []
    shown = Observations(EventTimes(None, at_s * 1000, at_s), tellings, Contact(), {})
    view = CustomerView(store, CUSTOMER, shown)
    if isinstance(told, Observation):
        view.settle(None)
        return
    event_id = f"{told[1]:026d}"
    operation = MappedOperation(event_id, b"{}", barrier=False, kind="event", name="x")
    operations = () if view.emitted(event_id) else (operation,)
    view.settle(Operations(b"cus_1", operations, event_time_ms=0, identified_by="customer_id"))


def sums(store: MemoryStore) -> list[Any]:
    """What the kept summary says, but for the identity, which counts its own writes."""
    kept = store.derived(CUSTOMER)
    found: list[Any] = orjson.loads(kept[1:]) if kept else []
    return found[:-1]


def folded(store: MemoryStore) -> dict[bytes, bytes]:
    """The summary made of all facts, and what lies beside it."""
    anew = MemoryStore()
    for key, value in store.scan(facts.prefix(CUSTOMER)):
        anew.put(key, value)
    summary_of(anew, CUSTOMER)
    return anew.derived_values


SOURCE = {"payment": 6, "refund": 4}
"""The place of who told it."""


def told_again(told: Any, rng: Any) -> Any:
    """The same once more: of a payment or refund by either source, and at times corrected."""
    if not isinstance(told, Observation) or told.kind not in SOURCE:
        return told
    again = copied(told)
    again.fact[SOURCE[told.kind]] = rng.choice(["webhook", "api"])
    again.fact[0] = rng.choice([told.fact[0], told.fact[0], 40, 100, None])
    return again


@given(st.lists(TELLINGS, max_size=14), st.randoms())
def test_following_is_folding(told: list[Any], rng: Any) -> None:
    """After every webhook, in any order with repetitions and corrections, the kept summary is that of all facts."""
    store = MemoryStore()
    tellings = told + [told_again(rng.choice(told), rng) for _ in told[:5]]
    rng.shuffle(tellings)
    for one in tellings:
        take(store, one)
        assert store.derived_values == folded(store)
    again = MemoryStore()
    for one in sorted(tellings, key=repr):
        take(again, one)
    assert sums(again) == sums(store)


@pytest.mark.parametrize(
    "tellings",
    [
        (
            payment("pay_1", 100, "USD", "2026-03-05T00:00:00Z", source="api"),
            payment("pay_2", 100, "USD", "2026-03-03T00:00:00Z"),
            payment("pay_1", 100, "USD", "2026-03-01T00:00:00Z"),
        ),
        (
            payment("pay_1", 100, "USD", "2026-03-05T00:00:00Z", method="card", source="api"),
            payment("pay_2", 100, "USD", "2026-03-03T00:00:00Z", method="wallet"),
            payment("pay_1", 100, "USD", "2026-03-05T00:00:00Z"),
        ),
    ],
    ids=["it was earlier", "it had no method"],
)
def test_a_better_telling_of_the_last_payment(tellings: tuple[Observation, ...]) -> None:
    """The other payment takes the place that the first telling had given it."""
    store = MemoryStore()
    for one in tellings:
        take(store, one)
    assert store.derived_values == folded(store)


def test_a_refund_that_was_known_is_taken_once() -> None:
    """Told by the API, then by its webhook, it is one refund."""
    store, by_webhook = MemoryStore(), refund("pay_1", "ref_1", 300, "USD", True)
    by_api = copied(by_webhook)
    by_api.fact[-1] = "api"
    for one in (payment("pay_1", 1000, "USD", "2026-03-01T00:00:00Z"), by_api, by_webhook):
        take(store, one)
    summary = summary_of(store, CUSTOMER)
    assert (summary.spent, summary.refunds) == ({"USD": 700}, 1)


UNUSABLE = [
    payment("pay_1", None, "USD", "2026-03-01T00:00:00Z"),
    payment("pay_1", 1000, None, "2026-03-01T00:00:00Z"),
]


@pytest.mark.parametrize("told", UNUSABLE)
@pytest.mark.parametrize("better", ["webhook", "api"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1)])
def test_an_amount_that_can_be_used_counts(told: Observation, better: str, order: tuple[int, ...]) -> None:
    """Of a payment that was told without an amount or currency too, earlier or later, by a webhook or the API."""
    store = MemoryStore()
    usable = payment("pay_1", 1000, "USD", "2026-03-01T00:00:05Z", source=better)
    for number in order:
        take(store, (told, usable)[number])
    assert summary_of(store, CUSTOMER).spent == {"USD": 1000}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_refund_s_amount_that_can_be_used_counts(order: tuple[int, ...]) -> None:
    """A partial refund without an amount is repaired by what the API tells of it."""
    store, by_webhook = MemoryStore(), refund("pay_1", "ref_1", None, "USD", True)
    by_api = refund("pay_1", "ref_1", 300, "USD", True)
    by_api.fact[-1] = "api"
    take(store, payment("pay_1", 1000, "USD", "2026-03-01T00:00:00Z"))
    for number in order:
        take(store, (by_webhook, by_api)[number])
    assert summary_of(store, CUSTOMER).spent == {"USD": 700}


@given(st.lists(TELLINGS, max_size=8))
def test_a_lost_summary_is_made_anew(told: list[Any]) -> None:
    """Without it, or with one of another version, the facts are folded, and the result is kept."""
    store = MemoryStore()
    for one in told:
        take(store, one)
    kept = store.derived_values.copy()
    for lost in (None, b"", b"\x00[]"):
        store.put_derived(CUSTOMER, lost)
        assert summary_of(store, CUSTOMER).encode() == folded(store)[CUSTOMER]
        assert store.derived_values == folded(store)
    assert not told or kept == folded(store)


def test_bytes_come_back() -> None:
    """What was kept is read as it was, and begins with its version."""
    store = MemoryStore()
    take(store, payment("pay_1", 100, "USD", "2026-03-01T00:00:00Z", periods=[["sub_1", 7]]))
    kept = store.derived(CUSTOMER)
    assert kept is not None
    assert kept[:1] == VERSION
    summary = Summary.decode(kept)
    assert summary is not None
    assert summary.encode() == kept


PAID = payment("pay_1", 1000, "USD", "2026-03-01T00:00:00Z").fact


@pytest.mark.parametrize(
    ("refunds", "expected"),
    [
        ([], None),
        ([(300, "USD", True)], 300),
        ([(300, "USD", True), (200, "USD", True)], 500),
        ([(300, "USD", True), (900, "USD", False)], 1000),
        ([(None, None, False)], 1000),
        ([(300, "USD", True), (None, None, False)], 1000),
        ([(None, None, True)], None),
        ([(None, None, None)], None),
        ([(1000, "EUR", False)], 1000),
        ([(987, "USD", False)], 1000),
        ([(300, "USD", True), (700, None, False)], 1000),
        ([(300, "EUR", True)], None),
        ([(300, None, True)], None),
        ([(300, "EUR", True), (200, "USD", True)], 200),
        ([(0, "USD", True)], 0),
        ([(-5, "USD", True)], None),
    ],
)
def test_what_a_refund_takes_back(refunds: list[tuple[Any, ...]], expected: int | None) -> None:
    """Never more than was paid, the whole remainder where that is said, nothing where the worth is not known."""
    told = [refund("pay_1", f"ref_{number}", *one).fact for number, one in enumerate(refunds)]
    paid, known = PaymentFact.of(PAID), [RefundFact.of(one) for one in told]
    assert refunded(paid, known) == expected
    assert refunded(paid, known[::-1]) == expected


@pytest.mark.parametrize(
    "other",
    [
        payment("pay_1", 0, "USD", "2026-03-01T00:00:00Z"),
        payment("pay_1", None, "USD", "2026-03-01T00:00:00Z"),
        payment("pay_1", -100, "USD", "2026-03-01T00:00:00Z"),
        payment("pay_1", 100, None, "2026-03-01T00:00:00Z"),
        payment("pay_1", 100, "USD", "2026-03-01T00:00:00Z", card_update=True),
    ],
)
def test_nothing_comes_back_of_what_does_not_count(other: Observation) -> None:
    """Zero payments, card updates and amounts without a currency are in no sum to take from."""
    told = RefundFact.of(refund("pay_1", "ref_1", 50, "USD", True).fact)
    assert refunded(PaymentFact.of(other.fact), [told]) is None


def test_a_summary_of_the_former_rule_is_made_anew() -> None:
    """A full refund that was not counted, as an earlier version left facts and summary on the disk, counts now."""
    store = MemoryStore()
    store.put(b"cus_1\0payment\0pay_1", b'[1000,"USD","2026-03-01T00:00:00Z",null,null,false,"webhook",[],null]')
    store.put(b"cus_1\0refund\0pay_1\0ref_1", b'[987,"EUR","2026-03-09T00:00:00Z",false,"webhook"]')
    store.put_derived(
        b"cus_1",
        b'\x03[0,1,{"USD":1000},[1772323200000,"pay_1","2026-03-01T00:00:00Z"],[1772323200000,"pay_1","USD"],'
        b'[1772323200000,"pay_1","2026-03-01T00:00:00Z"],null,1,false,{},null,[],null,'
        b"[0,0,null,null,null,null,null,null,null,{}]]",
    )
    assert summary_of(store, b"cus_1").spent == {"USD": 0}


def test_a_subscription_of_the_former_version_shows_its_price() -> None:
    """The plans of its fact have it; of a trial it says nothing."""
    store = MemoryStore()
    store.put(
        b"cus_1\0subscription\0sub_1",
        b'[1,1000,"active","2026-04-01T00:00:00Z",false,5,[[1,1000,"pdt_1",2900,"USD","Month",1]]]',
    )
    shown = ["sub_1", "active", "pdt_1", "2026-04-01T00:00:00Z", False, 5, 2900, "USD", "Month", 1, None, None]
    assert summary_of(store, b"cus_1").live == shown


DAY_MS = 86_400_000


@pytest.mark.parametrize("charge_first", [True, False])
@pytest.mark.parametrize(
    ("charge", "ends"),
    [
        ((2 * DAY_MS, "pay_1"), True),  # as earlier versions wrote it
        (([[2 * DAY_MS, "pay_1", "renewal"]], []), True),
        (([[2_000, "pay_1", "plan_change"]], []), True),
        (([[2_000, "pay_1", "new"]], []), False),
        (([[2_000, "pay_1", None]], []), False),  # what opened it, though its type is not known
        (([[2_000, "pay_1", None], [2 * DAY_MS, "pay_2", None]], []), True),
        (([], [[2 * DAY_MS, "pay_1", "renewal"]]), False),
    ],
)
def test_a_charge_ends_a_trial_whichever_is_known_first(
    charge: tuple[Any, ...], ends: bool, charge_first: bool
) -> None:
    """The trial's end is there until more than nothing was paid for the subscription, but for what opened it."""
    store = MemoryStore()
    trial = subscription("sub_1", (1, 0), "active", 1)
    trial.fact.extend([9 * DAY_MS, None, [], 9])
    paid = telling("charge", ("sub_1",), *charge)
    shown = []
    for told in (paid, trial) if charge_first else (trial, paid):
        view = CustomerView(store, CUSTOMER, Observations(EventTimes(None, 0, 0), [told], Contact(), {}))
        view.settle(None)
        shown.append([view.speaking.trial_ends_ms] if view.speaking is not None else [])
    end = None if ends else 9 * DAY_MS
    assert shown == ([[], [end]] if charge_first else [[9 * DAY_MS], [end]])
    assert store.derived_values == folded(store)
