"""The simulated shop: repeatable, complete, and true to its own books."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.envelope import kafka_key, parse
from pipeline.dodo.signature import Verifier
from pipeline.dodo.simulator import Delivery, Ledger, Shop
from pipeline.errors import SignatureError, UnreadableBodyError

NOW = datetime(2026, 10, 20, 12, tzinfo=UTC)
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
MANY = 20_000

seeds = st.integers(0, 2**32)


@cache
def _many() -> tuple[list[Delivery], Ledger]:
    shop = Shop(7, NOW)
    return list(shop.deliveries(MANY)), shop.ledger


def _firsts() -> list[Delivery]:
    return [delivery for delivery in _many()[0] if delivery.kind == "first"]


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_a_seed_is_repeatable(seed: int) -> None:
    """The same seed and present give the same deliveries, byte for byte, and the same books."""
    one, other = Shop(seed, NOW), Shop(seed, NOW)
    assert list(one.deliveries(700)) == list(other.deliveries(700))
    assert one.ledger == other.ledger


def test_seeds_differ() -> None:
    """Another seed is another shop: no webhook id in common."""
    assert not {d.webhook_id for d in Shop(1, NOW).deliveries(300)} & {
        d.webhook_id for d in Shop(2, NOW).deliveries(300)
    }


def test_taking_in_parts_changes_nothing() -> None:
    """Deliveries taken in two calls are those of one."""
    parts = Shop(3, NOW)
    assert [*parts.deliveries(200), *parts.deliveries(300)] == list(Shop(3, NOW).deliveries(500))


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_all_types_occur_in_2000(seed: int) -> None:
    """Whatever the seed, the first 2,000 deliveries show every type."""
    shop = Shop(seed, NOW)
    assert sum(1 for _ in shop.deliveries(2000)) == 2000
    assert set(shop.ledger.types) == set(TYPES)


@pytest.mark.parametrize("begin", range(0, MANY, 2000))
def test_all_types_occur_in_any_2000(begin: int) -> None:
    """So does every later stretch."""
    stretch = _many()[0][begin : begin + 2000]
    assert {delivery.type for delivery in stretch if delivery.kind == "first"} == set(TYPES)


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_bodies_have_the_samples_fields(type_: str) -> None:
    """A body has exactly the fields of the type's main sample, and of its customer and billing."""
    sample = orjson.loads(samples.load(type_))
    bodies = [orjson.loads(delivery.body) for delivery in _firsts() if delivery.type == type_]
    assert bodies
    for body in bodies:
        assert set(body) == set(sample)
        assert set(body["data"]) == set(sample["data"])
        for part in ("customer", "billing"):
            assert set(body["data"].get(part) or ()) == set(sample["data"].get(part) or ())


def test_the_books_equal_a_recount_of_the_bodies() -> None:
    """Counts, sums and sequences that the shop kept are those that its bodies tell."""
    deliveries, ledger = _many()
    payments, refunds = Counter[str](), Counter[str]()
    paid, returned = Counter[str](), Counter[str]()
    sequences: dict[str, list[str]] = defaultdict(list)
    charged: dict[str, tuple[str, int]] = {}
    for delivery in (d for d in deliveries if d.kind == "first"):
        envelope = parse(delivery.body)
        key = kafka_key(envelope, delivery.webhook_id).decode()
        if key.startswith("cus_"):
            sequences[key].append(delivery.webhook_id)
        data: dict[str, Any] = envelope.data
        if envelope.type == "payment.succeeded" and data["total_amount"] and not data["is_update_payment_method"]:
            payments[data["currency"]] += 1
            paid[data["currency"]] += data["total_amount"]
            charged[data["payment_id"]] = (data["currency"], data["total_amount"])
        if envelope.type == "refund.succeeded":
            currency, left = charged[data["payment_id"]]
            amount = left if data["amount"] is None else data["amount"]
            charged[data["payment_id"]] = (currency, left - amount)
            refunds[currency] += 1
            returned[currency] += amount
    assert ledger.payments == {currency: (payments[currency], paid[currency]) for currency in payments}
    assert ledger.refunds == {currency: (refunds[currency], returned[currency]) for currency in refunds}
    assert ledger.sequences == sequences
    assert ledger.kinds == Counter(delivery.kind for delivery in deliveries)
    assert ledger.types == Counter(delivery.type for delivery in deliveries if delivery.kind == "first")
    for currency in payments:
        purses = [purse[currency] for purse in ledger.spent.values() if currency in purse]
        assert sum(purse[0] for purse in purses) == paid[currency]
        assert sum(purse[1] for purse in purses) == returned[currency]


def test_nobody_gets_back_more_than_was_paid() -> None:
    """Refunds never exceed what the same customer paid."""
    purses = [amounts for purse in _many()[1].spent.values() for amounts in purse.values()]
    assert any(returned for _, returned in purses)
    assert all(0 <= returned <= paid for paid, returned in purses)


def test_a_customers_deliveries_are_in_the_order_of_events() -> None:
    """Envelope times of one customer's first deliveries rise, and all lie in the day before the present."""
    times: dict[str, list[str]] = defaultdict(list)
    for delivery in _firsts():
        times[delivery.customer_id or "shop"].append(parse(delivery.body).timestamp or "")
    for customer, told in times.items():
        assert customer == "shop" or told == sorted(set(told))
        for timestamp in told:
            assert NOW - timedelta(hours=27) <= datetime.fromisoformat(timestamp) <= NOW


def test_customers_are_interleaved() -> None:
    """Neighbouring deliveries seldom belong to one customer."""
    runs = [len(list(run)) for _, run in groupby(delivery.customer_id for delivery in _firsts())]
    assert sum(runs) / len(runs) < 1.2


def test_the_named_customer_is_the_bodys() -> None:
    """A delivery's customer is the one that its body names; only payouts have none."""
    for delivery in _firsts():
        key = kafka_key(parse(delivery.body), delivery.webhook_id).decode()
        assert (delivery.customer_id or "pyt") == (key if delivery.customer_id else key[:3])


def test_redeliveries_repeat_an_earlier_webhook() -> None:
    """About 2 % come again: same id and fact, a newer attempt time; the body may have been read anew."""
    seen: dict[str, Delivery] = {}
    times, changed = 0, 0
    for delivery in _many()[0]:
        if delivery.kind == "redelivery":
            first = seen[delivery.webhook_id]
            assert delivery.timestamp > first.timestamp
            assert (delivery.type, delivery.customer_id) == (first.type, first.customer_id)
            fresh, known = parse(delivery.body), parse(first.body)
            assert fresh.timestamp == known.timestamp
            assert {k: v for k, v in fresh.data.items() if k != "updated_at"} == {
                k: v for k, v in known.data.items() if k != "updated_at"
            }
            times += 1
            changed += fresh.data != known.data
        else:
            assert delivery.webhook_id not in seen
            seen[delivery.webhook_id] = delivery
    assert 0.015 < times / MANY < 0.025
    assert changed


def test_only_the_forged_are_refused() -> None:
    """Every forged delivery fails the check, each in its way, and every other one passes it."""
    verifier = Verifier([SECRET], clock=lambda: NOW.timestamp() + 30)
    forgeries = Counter[str]()
    for delivery in _many()[0]:
        headers = delivery.headers(SECRET)
        if delivery.kind == "forged":
            forgeries[str(delivery.forgery)] += 1
            with pytest.raises(SignatureError):
                verifier.verify(headers, delivery.body)
        else:
            assert verifier.verify(headers, delivery.body) == "live"
    assert set(forgeries) == {"secret", "signature", "tampered", "stale", "unsigned"}
    assert 0.003 < forgeries.total() / MANY < 0.007


def test_a_long_run_stays_fresh() -> None:
    """An hour later the same deliveries can be signed for that time."""
    verifier = Verifier([SECRET], clock=lambda: NOW.timestamp() + 3600)
    for delivery in Shop(5, NOW).deliveries(100):
        if delivery.kind != "forged":
            assert verifier.verify(delivery.headers(SECRET, elapsed_s=3600), delivery.body) == "live"


def test_only_the_unreadable_cannot_be_read() -> None:
    """Unreadable deliveries are no webhooks, all others are, with the type that the delivery says."""
    unreadable = 0
    for delivery in _many()[0]:
        if delivery.kind == "unreadable":
            unreadable += 1
            with pytest.raises(UnreadableBodyError):
                parse(delivery.body)
        else:
            assert parse(delivery.body).type == delivery.type
    assert 0.001 < unreadable / MANY < 0.004


def test_the_hard_currencies_occur() -> None:
    """Currencies without and with three decimals are there, and amounts are integers of the smallest unit."""
    assert {"USD", "JPY", "KRW", "KWD"} <= set(_many()[1].payments)
    assert all(isinstance(total, int) for _, total in _many()[1].payments.values())
