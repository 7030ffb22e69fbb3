"""Any order with any repetition of a customer's webhooks ends in the same profile, in a workspace that refuses the old.

Customer.io ignores an identify that is older than the profile's last edit, so what counts is what the person shows in
the end, not what was sent.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo.simulator import Delivery, Shop
from pipeline.statestore.store import MemoryStore
from pipeline.transform.customers import facts
from pipeline.transform.customers.summary import fold
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import Operations
from tests.records import Consumed

NOW = datetime(2026, 10, 22, 12, tzinfo=UTC)
POLICY = Policy(metadata=(("plan_tier", "metadata_plan_tier"),))


@cache
def shop() -> tuple[dict[str, list[Delivery]], dict[str, dict[str, tuple[int, int]]]]:
    """Each customer's deliveries, and what the shop's own books say of them."""
    made = Shop(7, NOW)
    lives: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in made.deliveries(6000):
        if delivery.kind in {"first", "redelivery"} and delivery.customer_id is not None:
            lives[delivery.customer_id].append(delivery)
    return {name: life for name, life in lives.items() if len(life) > 2}, made.ledger.spent


def record(delivery: Delivery, at_s: int) -> Consumed:
    """The delivery as it lies in the topic, made at `at_s`."""
    headers = (("webhook-id", delivery.webhook_id.encode()), ("webhook-timestamp", b"%d" % at_s))
    return Consumed(delivery.body, headers)


def end_of(records: list[Consumed]) -> tuple[dict[str, Any], MemoryStore]:
    """What Customer.io shows of the one person, and the state."""
    store, workspace = MemoryStore(), Workspace(SandboxConfig())
    for record_ in records:
        verdict = decide(record_, POLICY, map_webhook, store).verdict
        for index, operation in enumerate(verdict.operations if isinstance(verdict, Operations) else ()):
            body = orjson.loads(operation.body)
            assert validate(body) == []
            workspace.apply(body, Arrival(0, 0), index)
    people = [{"id": person.id, "email": person.email, **person.attributes} for person in workspace.people]
    assert len(people) <= 1
    return (people[0] if people else {}), store


def paid(books: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Currency → what was paid less what came back."""
    return {currency: payments - refunds for currency, (payments, refunds) in books.items()}


@settings(deadline=None)  # the first example makes the shop
@given(st.data())
def test_any_order_with_any_repetition_ends_the_same(data: st.DataObject) -> None:
    """Attempts of one second, or spread over days; the totals are those of the shop's own books."""
    lives, spent = shop()
    customer_id = data.draw(st.sampled_from(sorted(lives)))
    life = lives[customer_id]
    spread_s = data.draw(st.sampled_from([0, 0, 1, 3600]))
    records = [record(delivery, delivery.timestamp + number * spread_s) for number, delivery in enumerate(life)]
    expected, store = end_of(records)
    again = records + data.draw(st.lists(st.sampled_from(records), max_size=len(records)))
    found, other = end_of(data.draw(st.permutations(again)))
    assert found == expected
    prefix = facts.prefix(customer_id.encode())
    told = [fold(one.scan(prefix)).summary.spent for one in (other, store)]
    assert told == [paid(spent.get(customer_id, {}))] * 2
    totals = {
        name[12:-6].upper(): value
        for name, value in found.items()
        if name.startswith("total_spent_") and name.endswith("_minor")
    }
    totals.pop("", None)
    assert totals == paid(spent.get(customer_id, {}))


@settings(deadline=None)  # the first example makes the shop
@given(st.data())
def test_a_restore_in_between_changes_nothing(data: st.DataObject) -> None:
    """A worker that has nothing but the changelog goes on as the one before would have."""
    lives, _ = shop()
    life = lives[data.draw(st.sampled_from(sorted(lives)))]
    records = [record(delivery, delivery.timestamp) for delivery in life]
    cut = data.draw(st.integers(0, len(records)))
    store = MemoryStore()
    for record_ in records[:cut]:
        decide(record_, POLICY, map_webhook, store)
    restored = MemoryStore()
    for key, value in store.changelog:
        known = restored.get(key)
        restored.put(key, facts.merge_at(key, known, value) if known is not None and value is not None else value)
    for record_ in records[cut:]:
        assert decide(record_, POLICY, map_webhook, restored) == decide(record_, POLICY, map_webhook, store)


def test_no_two_facts_of_the_shop_share_an_id() -> None:
    """Among 6,000 deliveries each event has one id, whatever is told of it how often."""
    lives, _ = shop()
    named: dict[str, tuple[str, str]] = {}
    for life in lives.values():
        store = MemoryStore()
        for delivery in life:
            verdict = decide(record(delivery, delivery.timestamp), POLICY, map_webhook, store).verdict
            for operation in verdict.operations if isinstance(verdict, Operations) else ():
                if operation.kind == "event":
                    fact = (operation.name or "", delivery.webhook_id)
                    assert named.setdefault(operation.op_id, fact) == fact
    assert len(named) > 3000
