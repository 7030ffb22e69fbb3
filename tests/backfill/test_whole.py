"""What list items lack, and where it comes from."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.backfill.whole import Owned, customer_of, may_be_card_update, own
from pipeline.dodo.api import Collection


class Books:
    """Single objects, and who was asked for."""

    def __init__(self, **objects: dict[str, Any]) -> None:
        self.objects = objects
        self.asked: list[str] = []
        self.payers: dict[str, str] = {}

    async def payment(self, payment_id: str) -> dict[str, Any] | None:
        """As the API."""
        self.asked.append(payment_id)
        return self.objects.get(payment_id)

    subscription = payment

    def payer(self, payment_id: str) -> str | None:
        """As the journal."""
        return self.payers.get(payment_id)


CUSTOMER = {"customer": {"customer_id": "cus_1"}}
SUBSCRIBED: dict[str, Any] = {
    "payment_id": "pay_1",
    "total_amount": 100,
    "subscription_id": "sub_1",
    "charge_type": "new",
    "service_periods": [],
}


@pytest.mark.parametrize(
    ("change", "doubtful"),
    [
        ({}, True),
        ({"charge_type": None}, True),
        ({"subscription_id": None, "subscription_ids": ["sub_1", "sub_2"]}, True),
        ({"is_update_payment_method": False}, False),
        ({"is_update_payment_method": True}, False),
        ({"total_amount": 0}, False),
        ({"subscription_id": None}, False),
        ({"service_periods": [{"subscription_id": "sub_1"}]}, False),
        ({"charge_type": "renewal"}, False),
        ({"charge_type": "plan_change"}, False),
        ({"charge_type": "on_demand"}, False),
    ],
)
def test_payments_in_doubt(change: dict[str, Any], doubtful: bool) -> None:
    """Only a charge that may have stored a card, and would count, is read whole."""
    assert may_be_card_update({**SUBSCRIBED, **change}) is doubtful


def test_old_list_items_are_in_doubt() -> None:
    """Before charge types and service periods were listed, nothing told a card update of a subscription."""
    assert may_be_card_update({"payment_id": "pay_1", "total_amount": 100, "subscription_id": "sub_1"})


@pytest.mark.parametrize(
    ("collection", "item", "asked", "owned"),
    [
        ("payments", {"payment_id": "pay_0", **CUSTOMER}, [], "cus_1"),
        ("payments", {**SUBSCRIBED, **CUSTOMER}, ["pay_1"], "cus_2"),
        ("payments", {"payment_id": "pay_1"}, ["pay_1"], "cus_2"),
        ("payments", {**SUBSCRIBED, **CUSTOMER, "payment_id": "pay_gone"}, ["pay_gone"], "cus_1"),
        ("refunds", {"refund_id": "ref_1", "payment_id": "pay_1"}, ["pay_1"], "cus_2"),
        ("refunds", {"refund_id": "ref_1", "payment_id": "pay_seen"}, [], "cus_3"),
        ("refunds", {"refund_id": "ref_1", "payment_id": "pay_gone"}, ["pay_gone"], None),
        ("refunds", {"refund_id": "ref_1", "payment_id": None}, [], None),
        ("refunds", {"refund_id": "ref_1", "payment_id": "pay_gone", **CUSTOMER}, [], "cus_1"),
        ("subscriptions", {"subscription_id": "sub_1", **CUSTOMER}, [], "cus_1"),
        ("subscriptions", {"subscription_id": "sub_1"}, ["sub_1"], "cus_4"),
        ("subscriptions", {"subscription_id": "sub_gone"}, ["sub_gone"], None),
        ("customers", {"customer_id": "cus_5"}, [], "cus_5"),
    ],
)
async def test_owners(collection: Collection, item: dict[str, Any], asked: list[str], owned: str | None) -> None:
    """Whose an object is comes from itself, else from what was seen, else from one question, else nobody knows."""
    books = Books(
        pay_1={"payment_id": "pay_1", "whole": True, "customer": {"customer_id": "cus_2"}},
        sub_1={"subscription_id": "sub_1", "customer_id": "cus_4"},
    )
    books.payers["pay_seen"] = "cus_3"
    found = await own(collection, item, books, books)
    assert (found.customer_id, books.asked) == (owned, asked)


async def test_whole_payment_goes_on() -> None:
    """A payment that was read whole goes on whole, with the flag that was missing."""
    whole = {**SUBSCRIBED, **CUSTOMER, "is_update_payment_method": True}
    books = Books(pay_1=whole)
    assert await own("payments", {**SUBSCRIBED, **CUSTOMER}, books, books) == Owned(whole, "cus_1")


@pytest.mark.parametrize("customer", [None, "cus_1", [], {}, {"customer_id": None}, {"customer_id": 7}])
def test_odd_customers(customer: Any) -> None:
    """What is no customer object names nobody."""
    assert customer_of({"customer": customer}) is None
