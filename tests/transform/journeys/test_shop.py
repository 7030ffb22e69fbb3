"""A whole simulated shop through the state: the people at Customer.io have what the shop's own books say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.simulator import Delivery, Shop

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DELIVERIES = 2_500
"""About 700 customers, all 48 types."""

NewWorld = Callable[[], Any]
RecordOf = Callable[[Delivery], Any]


def delivered(seed: int) -> tuple[Shop, list[Delivery]]:
    """A shop and what reached its endpoint with a true signature."""
    shop = Shop(seed, NOW)
    return shop, [delivery for delivery in shop.deliveries(DELIVERIES) if delivery.kind != "forged"]


def fed(world: Any, deliveries: list[Delivery], record_of: RecordOf) -> Any:
    """The world after these deliveries."""
    for delivery in deliveries:
        sent = world.feed(record_of(delivery))
        assert (sent.verdict == "unreadable") == (delivery.kind == "unreadable")
    return world


def check_books(world: Any, shop: Shop) -> None:
    """Every person's totals are the ledger's, and nobody else has any."""
    prefix, suffix = "total_spent_", "_minor"
    shown = {
        name: {
            attribute[len(prefix) : -len(suffix)].upper(): value
            for attribute, value in person["attributes"].items()
            if attribute.startswith(prefix) and attribute.endswith(suffix) and attribute != "total_spent_minor"
        }
        for name, person in world.people.items()
    }
    booked = {
        customer_id: {currency: paid - back for currency, (paid, back) in purse.items()}
        for customer_id, purse in shop.ledger.spent.items()
    }
    assert {name: totals for name, totals in shown.items() if totals} == booked


@pytest.mark.parametrize("seed", [1, 2])
def test_the_books_and_the_people_agree_in_any_interleaving(
    new_world: NewWorld, record_of: RecordOf, seed: int
) -> None:
    """Totals are the ledger's, as delivered and shuffled, and the whole profiles are the same."""
    shop, deliveries = delivered(seed)
    assert set(shop.ledger.types) == set(TYPES)
    in_order = fed(new_world(), deliveries, record_of)
    check_books(in_order, shop)
    assert in_order.workspace.people.ignored_as_older == 0
    Random(seed).shuffle(deliveries)
    shuffled = fed(new_world(), deliveries, record_of)
    check_books(shuffled, shop)
    assert shuffled.people == in_order.people
    assert set(in_order.emitted.values()) | set(shuffled.emitted.values()) == {1}


def test_no_two_facts_share_an_id(new_world: NewWorld, record_of: RecordOf) -> None:
    """Each first delivery that sends an event sends one with an id of its own."""
    told: dict[str, tuple[str | None, str]] = {}
    world = new_world()
    _, deliveries = delivered(3)
    for delivery in deliveries:
        sent = world.feed(record_of(delivery))
        if sent.event is None:
            continue
        fact = (sent.name, delivery.webhook_id)
        assert told.setdefault(sent.event["id"], fact) == fact
    assert len(told) > DELIVERIES / 2
